"""A real kube-proxy makes the services of neutron-ipvlan's pods: what the documents say holds."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import pytest
import yaml

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod
from neutron_cni_lab.kubernetes.control_plane import SERVICE_CIDRS, ControlPlane
from neutron_cni_lab.kubernetes.objects import Backend, Policy, Service, add_node, service
from neutron_cni_lab.kubernetes.proxy import KubeProxy
from tests.openstack.modes import Container
from tests.support import documented
from tests.vm.networks import ipvlan
from tests.vm.reachability import Site, assert_as_written, gateway_of
from tests.vm.services import PORT, ByKubeProxy

T = TypeVar("T")

PORTS = (80, PORT)
"""Of the services, and of the pods."""

MODES = ("fixed-ips", "address-pairs")

SERVED: list[tuple[str, Policy]] = [
    ("one", "Cluster"),
    ("one", "Local"),
    ("beside", "Cluster"),
    ("far", "Cluster"),
    ("far", "Local"),
]
"""The services that there are, each with one of the pods behind it."""


@pytest.fixture(scope="module")
def proxies(plane: ControlPlane, vms: list[Node]) -> Iterator[list[KubeProxy]]:
    """kube-proxy on both nodes, with the settings that the documents tell operators."""
    settings = yaml.safe_load(documented.block("kubernetes.md", "yaml kube-proxy"))
    api = plane.client()
    made = [KubeProxy(plane, node, settings) for node in vms]
    try:
        for node in vms:
            add_node(api, node)
        _all(made, KubeProxy.start)
        yield made
    finally:
        _all(made, KubeProxy.stop)


@pytest.fixture(scope="module")
def sites(
    plane: ControlPlane, proxies: list[KubeProxy], vms: list[Node]
) -> Iterator[dict[str, dict[str, Any]]]:
    """What a `Site` needs, by the mode of the IPAM: pods, and services in front of them."""
    api = plane.client()
    with ExitStack() as stack:
        pods = stack.enter_context(_pods(vms))
        backends = {key: _backend(pod) for key, pod in pods.items()}
        sites: dict[str, dict[str, Any]] = {}
        every: list[Service] = []
        for mode in MODES:
            made = {
                (pods[mode, name].name, policy): stack.enter_context(
                    service(
                        api, f"{mode}-{name}-{policy.lower()}", backends[mode, name], PORTS, policy
                    )
                )
                for name, policy in SERVED
            }
            every += made.values()
            sites[mode] = {name: pods[mode, name] for name, _ in SERVED}
            sites[mode]["services"] = ByKubeProxy(made)
        _all(proxies, lambda proxy: proxy.wait_for(every))
        yield sites


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mode", MODES)
def test_services_are_reached_as_the_table_says(
    lab: Lab, sites: dict[str, dict[str, Any]], mode: str, version: int
) -> None:
    rows = ("pod to a service", "node port")
    assert_as_written(
        _site(lab, sites[mode], version),
        f"{mode} IPv{version}",
        lambda row: row.startswith(rows),
    )


@pytest.mark.parametrize("version", [4, 6])
def test_kube_proxy_tells_pods_of_its_node_from_others(
    lab: Lab, sites: dict[str, dict[str, Any]], version: int
) -> None:
    assert_as_written(_site(lab, sites["fixed-ips"], version), f"kube-proxy IPv{version}")


def test_a_pod_reaches_the_api_server_by_its_service(sites: dict[str, dict[str, Any]]) -> None:
    first = next(ipaddress.ip_network(SERVICE_CIDRS[0]).hosts())
    done = sites["fixed-ips"]["one"].exec(["curl", "-sk", "-m", "20", f"https://{first}/readyz"])
    assert done.stdout == "ok"


def _site(lab: Lab, facts: dict[str, Any], version: int) -> Site:
    vm = lab.node("node2") if version == 4 else None
    return Site(lab, version, gateway=gateway_of(facts["one"], version), vm=vm, **facts)


@contextmanager
def _pods(vms: list[Node]) -> Iterator[dict[tuple[str, str], Pod]]:
    """By mode and name; all are made at once, and go at once."""
    made = {
        (mode, name): Container(
            vms[1] if name == "far" else vms[0], f"{mode}-{name}", ipvlan(mode), "neutron-ipvlan"
        )
        for mode in MODES
        for name in ("one", "beside", "far")
    }
    try:
        _all(made.values(), Container.add)
        yield {key: container.pod for key, container in made.items()}
    finally:
        _all(made.values(), Container.delete)


def _backend(pod: Pod) -> Backend:
    words = ["ip", "-o", "addr", "show", "dev", "eth0", "scope", "global"]
    lines = pod.exec(words).stdout.splitlines()
    return Backend([line.split()[3].partition("/")[0] for line in lines], pod.node)


def _all(things: Iterable[T], work: Callable[[T], object]) -> None:
    """Do `work` with all of them at the same time."""
    with ThreadPoolExecutor() as pool:
        for job in [pool.submit(work, thing) for thing in things]:
            job.result()
