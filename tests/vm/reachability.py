"""What pods with a second leg reach, and what reaches them: the rows of the table in the documents.

A cell says who the other side sees: the pod, its node, the router, or the client, or "yes" where
nobody tells. "no": it can't be reached. "-": there is no such thing in that column.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from neutron_cni_lab import Lab, LabError, Node
from neutron_cni_lab.demo import Pod, traffic
from neutron_cni_lab.demo.traffic import Place
from neutron_cni_lab.kubernetes.objects import Policy
from tests.vm.services import PORT, ByHand, Services

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "reachability.md"
FORGED = {4: "192.0.2.77", 6: "2001:db8::77"}


@dataclass
class Site:
    """Where the rows are measured, for one IP version.

    `one` and `beside` are pods of `node`, `far` is one of `other`. `routed` is a pod in veth-route
    mode, elsewhere; `vm` is a VM beside, `outside` somebody on the internet; None where the column
    has none. `gateway` is the pods'. `floating` is a floating IP that leads to `one`. `services`
    makes services.
    """

    lab: Lab
    version: int
    one: Pod
    beside: Pod
    far: Pod
    gateway: str
    vm: Node | None = None
    routed: Pod | None = None
    outside: Node | None = None
    outside_address: str = ""
    router_address: str = ""
    floating: str = ""
    port_security: bool = True
    services: Services = field(default_factory=ByHand)

    @property
    def node(self) -> Node:
        """The node of `one`."""
        return self.one.node

    @property
    def other(self) -> Node:
        """The node of `far`."""
        return self.far.node

    def address(self, place: Place) -> str:
        """A pod's or a node's."""
        if isinstance(place, Node):
            found = (str(item).partition("/")[0] for item in place.facts["addresses"])
            return next(item for item in found if (":" in item) is (self.version == 6))
        words = ["ip", "-o", f"-{self.version}", "addr", "show", "dev", "eth0", "scope", "global"]
        return str(place.exec(words).stdout.split()[3].partition("/")[0])

    def pings(self, source: Place, target: str, *options: str) -> str:
        """Whether one of three echo requests is answered."""
        words = ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", *options, target]
        done = source.exec(words, check=False)
        return "no" if re.search(r" 0 received", done.stdout) or done.returncode > 1 else "yes"

    def sees(
        self, server: Place, client: Place, target: str = "", port: int = PORT, size: int = 20000
    ) -> str:
        """Who `server` sees when `client` sends `size` bytes to `target`, `server` itself if empty,
        and whether so many come.

        What they are is only warned of: between VMs of the lab other bytes came for some that were
        sent, once in some thousands of connections, and on one machine in each that a VM passed on
        to another VM for a client on the host; why was not found. Nothing of ours touches what
        packets carry, and `test_tcp_carries_megabytes_intact` looks at that between nodes that
        share the machine's kernel.
        """
        where = target or self.address(server)
        try:
            seen = traffic.transfer(client, server, where, size, port=port, listen=PORT)
        except LabError as error:
            return f"no: {error}"
        if seen.size == size and not seen.intact:
            way = f"from {client.name} to {server.name} by {where} port {port}"
            warnings.warn(f"kilobytes that came as others {way}: {seen.damaged}", stacklevel=2)
        return self.name_of(seen.source, client) if seen.size == size else f"cut: {seen.size}"

    def name_of(self, address: str, client: Place) -> str:
        """What the table calls who has that address."""
        known = {
            self.router_address: "the router",
            self.address(self.other): "another node",
            self.address(self.node): "the node",
            self.address(client): "the pod" if isinstance(client, Pod) else "the client",
        }
        if client is self.node:
            return "the node" if address == self.address(client) else address
        return known.get(address, address)


Measure = Callable[[Site], str]


def _service(
    backend: Callable[[Site], Pod], client: Callable[[Site], Place] = lambda site: site.one
) -> Measure:
    def measure(site: Site) -> str:
        pod = backend(site)
        with site.services.for_pods(site, pod) as (target, port):
            return site.sees(pod, client(site), target, port)

    return measure


def _node_port(
    backend: Callable[[Site], Pod],
    policy: Policy,
    client: Callable[[Site], Place] = lambda site: site.vm or site.outside or site.other,
) -> Measure:
    """Unless it is said, the client is no pod of ours."""

    def measure(site: Site) -> str:
        pod = backend(site)
        with site.services.at_node(site, pod, policy) as port:
            seen = site.sees(pod, client(site), site.address(site.node), port)
            return "no" if seen.startswith("no:") else seen

    return measure


def _routed(site: Site) -> str:
    return site.sees(site.routed, site.one) if site.routed else "-"


def _vm(site: Site) -> str:
    return site.sees(site.vm, site.one) if site.vm else "-"


def _internet(site: Site) -> str:
    """Not of the pod that has a floating IP."""
    return site.sees(site.outside, site.beside, site.outside_address) if site.outside else "-"


def _metadata(site: Site) -> str:
    if site.version == 6 or not site.port_security:
        return "-"
    url = "http://169.254.169.254/openstack/latest/network_data.json"
    done = site.one.exec(["curl", "-s", "-m", "10", url], check=False)
    return "yes" if site.node.port_id in done.stdout else f"no: {done.stdout[:80]}"


def _floating(site: Site) -> str:
    if not site.floating or site.outside is None:
        return "-"
    seen = site.sees(site.one, site.outside, site.floating)
    return "the client" if seen in ("the client", site.outside_address) else seen


def _forged(site: Site) -> str:
    if not site.port_security:
        return "-"
    link = ["ip", "addr", "add", FORGED[site.version], "dev", "lo"]
    site.one.exec(link, check=False)
    try:
        return site.pings(site.one, site.gateway, "-I", FORGED[site.version])
    finally:
        site.one.exec([*link[:2], "del", *link[3:]], check=False)


def _edge(site: Site) -> str:
    headers = 28 if site.version == 4 else 48
    mtu = int(site.node.facts["mtu"])
    target = site.address(site.far)
    fits = site.pings(site.one, target, "-M", "do", "-s", str(mtu - headers))
    above = site.pings(site.one, target, "-M", "do", "-s", str(mtu + 1 - headers))
    return "yes" if (fits, above) == ("yes", "no") else f"{fits}, and {above} above"


def _asked(site: Site) -> str:
    """Whether somebody answers `other`, which asks for `one` on the network itself."""
    words = ["arping", "-c", "3", "-w", "5", "-I", "eth0", site.address(site.one)]
    done = site.other.exec(words, check=False)
    return "is answered" if "reply from" in done.stdout else "is not answered"


ROWS: dict[str, Measure] = {
    "pod to its gateway": lambda site: site.pings(site.one, site.gateway),
    "pod to a pod of its node": lambda site: site.sees(site.beside, site.one),
    "pod to a pod of another node": lambda site: site.sees(site.far, site.one),
    "pod to a `veth-route` pod of a node in another subnet": _routed,
    "pod to a VM in another subnet": _vm,
    "pod to a host on the internet": _internet,
    "pod to its own node": lambda site: site.sees(site.node, site.one),
    "pod to another node": lambda site: site.sees(site.other, site.one),
    "node to its pod (a probe)": lambda site: site.sees(site.one, site.node),
    "pod to the metadata service": _metadata,
    "pod to a service, backend on its node": _service(lambda site: site.beside),
    "pod to a service, backend on another node": _service(lambda site: site.far),
    "pod to a service, backend is the pod itself": _service(lambda site: site.one),
    "node port, policy Cluster, backend on that node": _node_port(lambda site: site.one, "Cluster"),
    "node port, policy Cluster, backend on another node": _node_port(
        lambda site: site.far, "Cluster"
    ),
    "node port, policy Local": _node_port(lambda site: site.one, "Local"),
    "node port, policy Local, no backend on that node": _node_port(lambda site: site.far, "Local"),
    "pod to a node port of its node, policy Cluster": _node_port(
        lambda site: site.beside, "Cluster", lambda site: site.one
    ),
    "pod to a node port of its node, policy Local, no backend there": _node_port(
        lambda site: site.far, "Local", lambda site: site.one
    ),
    "node to a service, backend on it": _service(lambda site: site.one, lambda site: site.node),
    "node to a service, backend on another node": _service(
        lambda site: site.far, lambda site: site.node
    ),
    "floating IP to the pod": _floating,
    "source that is not on the port gets through": _forged,
    "packets of the MTU pass, larger ones do not": _edge,
    "who asks by ARP for the pod": _asked,
    "a megabyte to a pod of another node": lambda site: site.sees(
        site.far, site.one, size=1_000_000
    ),
}


def expected(column: str) -> dict[str, str]:
    """The cells of a column of the tables in the documents, by the first cells of their rows."""
    for text in TABLE.read_text().split("\n\n"):
        lines = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
        rows = [[cell.strip() for cell in line.split("|")] for line in lines]
        if rows and column in rows[0]:
            return {row[0]: row[rows[0].index(column)] for row in rows[2:]}
    raise LookupError(f"no table in {TABLE} has a column {column}")


def measured(site: Site, rows: Iterable[str]) -> dict[str, str]:
    """The cells of the column that `site` is for, as they are; what goes wrong is that cell's."""
    found = {}
    for row in rows:
        try:
            found[row] = ROWS[row](site)
        except Exception as error:
            found[row] = f"{type(error).__name__}: {error}"
    return found


def assert_as_written(site: Site, column: str, rows: Callable[[str], bool] | None = None) -> None:
    """Fails with all that was measured unless it is what the documents say of all `rows`."""
    wanted = {row: cell for row, cell in expected(column).items() if rows is None or rows(row)}
    found = measured(site, wanted)
    lines = [
        f"{'' if wanted.get(row) == cell else '!! '}{row}: {cell}" for row, cell in found.items()
    ]
    assert found == wanted, "\n".join([column, *lines])


def gateway_of(pod: Pod, version: int) -> str:
    """The pod's default gateway, as its kernel says."""
    shown = pod.exec(["ip", f"-{version}", "route", "show", "default"]).stdout
    return shown.split()[2]
