"""What ``neutron-cni lab status`` shows: parts, nodes and addresses."""

from rich.console import Console
from rich.table import Table

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.lab import Lab


def show(lab: Lab) -> bool:
    """Print it; whether all is up. `LabError` if there is no such lab."""
    facts = lab.facts
    if not facts:
        raise LabError(f"there is no lab {lab.places.name!r}", "`neutron-cni lab up` makes it.")
    pids = {
        "mariadb": lab.database.pid,
        "neutron": lab.neutron.pid,
        **({"nova": lab.nova.pid} if lab.has_nova else {}),
        **lab.driver.pids,
        **{node.name: node.pid for node in lab.nodes},
    }
    console = Console(highlight=False)
    parts = Table("part", "process", "state", title=f"Lab {lab.places.name}", title_justify="left")
    for part, pid in pids.items():
        parts.add_row(part, str(pid or "-"), _state(lab, part, pid))
    console.print(parts)
    console.print(_nodes(lab))
    console.print(f"Neutron from this machine: {facts['api_url']}")
    console.print(f"Neutron from a node:       {facts['node_api_url']}")
    if lab.has_nova:
        console.print(f"Nova from this machine:    {facts['nova_url']}")
        console.print(f"Nova from a node:          {facts['node_nova_url']}")
    console.print(f"Host on the internet:      {facts['far_address']}")
    console.print(f"Folder:                    {lab.places.folder}")
    stopped = {node.name for node in lab.nodes if node.is_stopped}
    if not facts["up"] or any(pid is None for part, pid in pids.items() if part not in stopped):
        console.print("Not all of it is up: `neutron-cni lab up` repairs it.", style="red")
        return False
    return True


def _nodes(lab: Lab) -> Table:
    servers = ("server",) if lab.has_nova else ()
    table = Table("node", "kind", "network", "addresses", "port", *servers, "namespace")
    for node in lab.nodes:
        known = node.facts
        kind = known["kind"] + (" (uml)" if node.kernel == "own" else "")
        shown = (kind, known["network"], "\n".join(known["addresses"]))
        ids = [known.get(key, "-") for key in ("port_id", "server_id")[: 1 + len(servers)]]
        table.add_row(node.name, *shown, *ids, node.namespace)
    return table


def _state(lab: Lab, part: str, pid: int | None) -> str:
    """What is said of a part or node."""
    if pid is None:
        known = lab.facts["nodes"].get(part, {})
        return "[yellow]stopped[/]" if known.get("stopped") else "[red]down[/]"
    if part not in lab.switch.parts or not (back := lab.switch.come_backs(part)).times:
        return "up"
    times = "once" if back.times == 1 else f"{back.times} times"
    return f"up; crashed and came back {times}, last at {back.last} UTC"
