"""Objects that a cluster without kubelets needs to be made by hand: nodes, and services with their
endpoints."""

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from neutron_cni_lab.node import Node

NAMESPACE = "default"

Policy = Literal["Cluster", "Local"]
"""``externalTrafficPolicy``: node ports lead to all backends, or to those of the node asked."""


@dataclass(frozen=True)
class Backend:
    """What a service leads to: a pod's addresses, one or two, and the node that it is on."""

    addresses: Sequence[str]
    node: Node


@dataclass(frozen=True)
class Service:
    """A service as the API server made it; both ports are TCP ones.

    `addresses`: its cluster IPs by IP version, of which pods ask for `port`.
    """

    name: str
    addresses: dict[int, str]
    port: int
    node_port: int
    backend: Backend


def add_node(api: Any, node: Node) -> None:
    """Have `node` in the cluster, as its kubelet would write it. Harmless twice.

    `api` is `ControlPlane.client`'s, here and below.
    """
    from kubernetes import client

    addresses = [str(item).partition("/")[0] for item in node.facts["addresses"]]
    status = {"addresses": [{"type": "InternalIP", "address": item} for item in addresses]}
    body = {"metadata": {"name": node.name}, "status": status}
    core = client.CoreV1Api(api)
    with _unless_absent():
        core.delete_node(node.name)
    core.create_node(body)


@contextmanager
def service(
    api: Any, name: str, backend: Backend, ports: tuple[int, int], policy: Policy = "Cluster"
) -> Iterator[Service]:
    """A service of type NodePort that leads to `backend`, gone at the end.

    `ports`: its own and the backend's. It has an address of each IP version that the backend has.
    """
    from kubernetes import client

    core, discovery = client.CoreV1Api(api), client.DiscoveryV1Api(api)
    families = [f"IPv{ipaddress.ip_address(item).version}" for item in backend.addresses]
    spec = {
        "type": "NodePort",
        "externalTrafficPolicy": policy,
        "ipFamilyPolicy": "RequireDualStack" if len(families) > 1 else "SingleStack",
        "ipFamilies": families,
        "ports": [{"port": ports[0], "targetPort": ports[1], "protocol": "TCP"}],
    }
    with _unless_absent():
        core.delete_namespaced_service(name, NAMESPACE)
    made = core.create_namespaced_service(NAMESPACE, {"metadata": {"name": name}, "spec": spec})
    try:
        for address, family in zip(backend.addresses, families, strict=True):
            discovery.create_namespaced_endpoint_slice(
                NAMESPACE, _endpoints(made, backend, address, family, ports[1])
            )
        yield Service(
            name,
            {ipaddress.ip_address(item).version: item for item in made.spec.cluster_ips},
            ports[0],
            made.spec.ports[0].node_port,
            backend,
        )
    finally:
        # By label, as these are nobody's who would take them along: no controller runs here.
        label = f"kubernetes.io/service-name={name}"
        discovery.delete_collection_namespaced_endpoint_slice(NAMESPACE, label_selector=label)
        core.delete_namespaced_service(name, NAMESPACE)


def _endpoints(made: Any, backend: Backend, address: str, family: str, port: int) -> dict[str, Any]:
    name = made.metadata.name
    endpoint = {
        "addresses": [address],
        "nodeName": backend.node.name,
        "conditions": {"ready": True},
    }
    return {
        "metadata": {
            "name": f"{name}-{family.lower()}",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": family,
        "ports": [{"port": port, "protocol": "TCP"}],
        "endpoints": [endpoint],
    }


@contextmanager
def _unless_absent() -> Iterator[None]:
    """What is to go may be gone already."""
    from kubernetes.client import ApiException

    try:
        yield
    except ApiException as error:
        if error.status != 404:
            raise
