"""Services in front of the pods of a `Site`: the rules made by hand, or by kube-proxy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, ClassVar, Protocol

from neutron_cni_lab.demo import Pod, services
from neutron_cni_lab.kubernetes.objects import Policy, Service

if TYPE_CHECKING:
    from tests.vm.reachability import Site

PORT = 8080
"""Of the pods, where a service leads to."""


class Services(Protocol):
    """Makes a service with one backend, on the node of `site`, for as long as a block runs."""

    def for_pods(self, site: Site, backend: Pod) -> AbstractContextManager[tuple[str, int]]:
        """The address and port that pods ask."""

    def at_node(self, site: Site, backend: Pod, policy: Policy) -> AbstractContextManager[int]:
        """The node's port that others ask."""


class ByHand:
    """One service at a time, by rules like those of kube-proxy."""

    _addresses: ClassVar = {4: "10.96.0.1", 6: "fd96::1"}
    _port, _node_port = 80, 30080

    @contextmanager
    def for_pods(self, site: Site, backend: Pod) -> Iterator[tuple[str, int]]:
        """See `Services`."""
        target = (self._addresses[site.version], self._port)
        with services.translated(site.node, target, (site.address(backend), PORT)):
            yield target

    @contextmanager
    def at_node(self, site: Site, backend: Pod, policy: Policy) -> Iterator[int]:
        """See `Services`."""
        target = (site.address(site.node), self._node_port)
        to = (site.address(backend), PORT)
        with services.translated(site.node, target, to, hidden=policy == "Cluster"):
            yield self._node_port


class ByKubeProxy:
    """Those that the cluster has already, which kube-proxy made rules for: `made` by what they are
    for, a pod and a policy."""

    def __init__(self, made: Mapping[tuple[str, Policy], Service]) -> None:
        self._made = made

    @contextmanager
    def for_pods(self, site: Site, backend: Pod) -> Iterator[tuple[str, int]]:
        """See `Services`."""
        service = self._made[backend.name, "Cluster"]
        yield service.addresses[site.version], service.port

    @contextmanager
    def at_node(self, site: Site, backend: Pod, policy: Policy) -> Iterator[int]:
        """See `Services`."""
        yield self._made[backend.name, policy].node_port
