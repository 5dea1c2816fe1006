"""Further networks of pods in a cluster: Multus reads them from a real kube-apiserver, by the pod's
annotation, and calls plugins on a node with a kernel that has ipvlan.

The networks are those of docs/how-to/multus.md, which says the same in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod
from neutron_cni_lab.kubernetes.control_plane import ControlPlane
from neutron_cni_lab.kubernetes.objects import NAMESPACE
from tests.openstack.modes import PREFIX
from tests.openstack.multus import definition, install, multus, network
from tests.openstack.plugin import Answer
from tests.openstack.state import wait_for
from tests.vm.networks import ipvlan
from tests.vm.remains import nothing_left

GROUP, VERSION, PLURAL = "k8s.cni.cncf.io", "v1", "network-attachment-definitions"
KUBECONFIG = "/run/multus.kubeconfig"
FIRST = {**ipvlan(), "name": "first"}
"""The network of every pod's `eth0`, of IPv4 and IPv6."""
ASKED, ANOTHER = ("10.20.0.241", "fd20::241"), "10.20.0.242"
GATEWAY = "10.20.0.1"


class Cluster:
    """Pods of the API server that a node's Multus is called for."""

    def __init__(self, plane: ControlPlane, node: Node) -> None:
        from kubernetes import client

        self.node = node
        self._core = client.CoreV1Api(plane.client())

    def pod(self, name: str, *networks: dict[str, Any]) -> Pod:
        """A namespace, and the pod that it is of: with these elements in its annotation."""
        annotations = {"k8s.v1.cni.cncf.io/networks": json.dumps(networks)}
        spec = {"containers": [{"name": "one", "image": "none"}], "nodeName": self.node.name}
        body = {"metadata": {"name": name, "annotations": annotations}, "spec": spec}
        self._core.create_namespaced_pod(NAMESPACE, body)
        self.node.exec(["ip", "netns", "add", name])
        return Pod(self.node, name)

    def call(self, command: str, pod: Pod) -> Answer:
        """A runtime's call of Multus."""
        more = {"kubeconfig": KUBECONFIG}
        return multus(self.node, command, pod.name, [FIRST], more)

    def status(self, pod: Pod) -> dict[str, list[str]]:
        """The addresses of each interface, as Multus wrote them into the pod's annotations."""
        found = self._core.read_namespaced_pod(pod.name, NAMESPACE).metadata.annotations
        entries = json.loads(found["k8s.v1.cni.cncf.io/network-status"])
        return {item["interface"]: item.get("ips", []) for item in entries if "interface" in item}

    def remove(self, name: str) -> None:
        """The pod and its namespace."""
        self._core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)
        self.node.exec(["ip", "netns", "del", name], check=False)


@pytest.fixture(scope="module")
def cluster(lab: Lab, plane: ControlPlane, vms: list[Node]) -> Cluster:
    """The page's networks are in it."""
    from kubernetes import client

    node = vms[0]
    install(lab, node)
    kubeconfig = json.dumps(plane.kubeconfig_of_admin())
    node.exec(["sh", "-c", f"umask 077; cat >{KUBECONFIG}"], input=kubeconfig)
    api = plane.client()
    _define(client.ApiextensionsV1Api(api))
    objects = client.CustomObjectsApi(api)
    for kind in ("neutron-ipvlan", "ipvlan"):
        body = definition(kind) | {"spec": {"config": json.dumps(network(kind))}}
        create = partial(_created, objects, body)
        wait_for(create, "the API server to know the kind")
    account = {"metadata": {"name": "default"}}  # No controller makes it here.
    client.CoreV1Api(api).create_namespaced_service_account(NAMESPACE, account)
    return Cluster(plane, node)


def _define(api: Any) -> None:
    """The kind NetworkAttachmentDefinition, with what Multus reads of it."""
    config = {"type": "object", "properties": {"config": {"type": "string"}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": config}}}
    names = {
        "plural": PLURAL,
        "singular": "network-attachment-definition",
        "kind": "NetworkAttachmentDefinition",
    }
    spec = {
        "group": GROUP,
        "scope": "Namespaced",
        "names": names,
        "versions": [{"name": VERSION, "served": True, "storage": True, "schema": schema}],
    }
    body = {"metadata": {"name": f"{PLURAL}.{GROUP}"}, "spec": spec}
    api.create_custom_resource_definition(body)


def _created(objects: Any, body: dict[str, Any]) -> bool:
    from kubernetes.client import ApiException

    try:
        objects.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, body)
    except ApiException as error:
        if error.status == 404:
            return False
        raise
    return True


@pytest.fixture
def node(lab: Lab, cluster: Cluster) -> Iterator[Node]:
    """Without pods before and after."""
    nothing_left(lab, cluster.node)
    yield cluster.node
    nothing_left(lab, cluster.node)


def defaults(pod: Pod) -> list[str]:
    """The interfaces that the default routes of IPv4 and IPv6 lead by."""
    words = ["sh", "-c", "ip -j -4 route show default; ip -j -6 route show default"]
    shown = pod.exec(words).stdout.splitlines()
    return [hop["dev"] for line in shown for hop in json.loads(line)]


def test_networks_of_the_annotation_leave_the_default_routes_of_both_ip_versions_alone(
    cluster: Cluster, node: Node
) -> None:
    """Addresses are asked for by `ips` from ours, by `cni-args` from upstream's ipvlan."""
    name = f"{PREFIX}cluster"
    pod = cluster.pod(
        name,
        {"name": "own", "ips": [*ASKED]},
        {"name": "theirs", "cni-args": {"ips": [ANOTHER]}, "interface": "side"},
    )
    try:
        answer = cluster.call("ADD", pod)
        assert answer.status == 0, answer.stdout
        assert defaults(pod) == ["eth0", "eth0"]
        found = cluster.status(pod)
        assert (found["net1"], found["side"]) == ([*ASKED], [ANOTHER])
        # By our own plugin's address, which has a rule for that, and by upstream's interface.
        for source in (ASKED[0], "side"):
            ping = ["ping", "-n", "-c", "1", "-W", "30", "-I", source, GATEWAY]
            assert pod.exec(ping, check=False).returncode == 0, source
        assert cluster.call("CHECK", pod).status == 0
    finally:
        assert cluster.call("DEL", pod).status == 0
        cluster.remove(name)
