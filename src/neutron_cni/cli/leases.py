"""`neutron-cni leases`: the addresses that this node holds, and what differs from Neutron."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from neutron_cni.ipam.audit.capacity import Left
    from neutron_cni.ipam.audit.survey import Survey
    from neutron_cni.store import Record

StateDir = Annotated[Path, typer.Option(help="Where the store is (`stateDir` of the network).")]
ConfDir = Annotated[Path, typer.Option(help="Where the networks are configured.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


_NO_WIDTH = 100_000
"""More characters than any line has."""
NO_NODE = "No network in %s uses cni-ipam-neutron, and there is no lease: Neutron was not asked."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(leases)


def leases(
    state_dir: StateDir = Path("/var/lib/neutron-cni"),
    conf_dir: ConfDir = Path("/etc/cni/net.d"),
    offline: Annotated[bool, typer.Option(help="Do not ask Neutron.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the addresses that this node holds, and what differs from Neutron.

    Ends with status 1 when something differs.
    """
    from neutron_cni.ipam.audit.capacity import left
    from neutron_cni.ipam.audit.survey import Survey, is_no_node, survey
    from neutron_cni.store import Store

    if is_no_node(state_dir, conf_dir):
        nothing = json.dumps(_document(Survey([], [], []), []), indent=2)
        typer.echo(nothing if as_json else NO_NODE % conf_dir)
        return
    with Store(str(state_dir)) as store:
        found = survey(store, conf_dir, offline)
        room = left(store, conf_dir, offline)
    if as_json:
        typer.echo(json.dumps(_document(found, room), indent=2))
    else:
        _print(found, offline)
        _print_room(room)
    if found.findings or found.problems:
        raise typer.Exit(1)


def _console() -> Console:
    """Standard output; what goes into a pipe or a file has no width to be cut to."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_NO_WIDTH)


def _print(found: Survey, offline: bool) -> None:
    from rich.markup import escape
    from rich.measure import Measurement

    console = _console()
    table = _table(found.leases)
    wanted = Measurement.get(console, console.options.update(width=_NO_WIDTH), table).maximum
    if not found.leases:
        console.print("This node holds no addresses.")
    elif wanted <= console.width:
        console.print(table)
    else:
        for record in found.leases:
            console.print(escape(_in_words(record)), soft_wrap=True)
    for record in found.leases:
        if record.id in found.waits:
            why = f"{record.state.value} {_addresses(record)}: {found.waits[record.id]}"
            console.print(f"[yellow]waits[/] {escape(why)}", soft_wrap=True)
    for finding in found.findings:
        console.print(
            f"[yellow]{finding.kind}[/] {finding.address}: {escape(finding.text)}", soft_wrap=True
        )
    for warning in found.warnings:
        console.print(f"[yellow]warning[/]: {escape(warning)}", soft_wrap=True)
    for problem in found.problems:
        console.print(f"[red]could not compare[/]: {escape(problem)}", soft_wrap=True)
    if not (offline or found.findings or found.problems):
        console.print("Neutron agrees.")


def _table(leases: list[Record]) -> Table:
    """A line for each lease, two where it has two addresses."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("address", "state", "since", "pod or container", "if", "network", "mode"):
        table.add_column(name, no_wrap=True)
    for record in leases:
        table.add_row(
            "\n".join(str(item.address) for item in record.addresses) or "-",
            _state(record),
            f"{time.time() - record.changed:.0f} s",
            escape(_whose(record)),
            escape(record.attachment.ifname or "-"),
            escape(record.network or "-"),
            record.config.mode.value,
        )
    return table


def _in_words(record: Record) -> str:
    """For a terminal that the table does not fit in: no name is cut, or broken by us."""
    since = f"{time.time() - record.changed:.0f} s"
    where = f"{record.attachment.ifname or '-'} on {record.network or '-'}"
    return (
        f"{_addresses(record)} {_state(record)}, since {since}\n"
        f"  {_whose(record)} {where}, {record.config.mode.value}"
    )


def _addresses(record: Record) -> str:
    return ", ".join(str(item.address) for item in record.addresses) or "-"


def _whose(record: Record) -> str:
    if record.is_warm:
        return "(a pod to come)"
    return str(record.pod) or record.attachment.container_id[:24] or f"token {record.token}"


def _print_room(room: list[Left]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    for item in room:
        full = "[yellow]full[/] " if item.is_full else ""
        console.print(f"{full}{escape(item.network)}: {escape(item.in_words)}", soft_wrap=True)


def _state(record: Record) -> str:
    left = record.until - time.time()
    return f"{record.state.value} ({left:.0f} s left)" if left > 0 else record.state.value


def _document(found: Survey, room: list[Left]) -> dict[str, Any]:
    return {
        "leases": [
            {
                "addresses": [str(item.address) for item in record.addresses],
                "state": record.state.value,
                "changed": record.changed,
                "until": record.until,
                "network": record.network,
                "containerId": record.attachment.container_id,
                "ifname": record.attachment.ifname,
                "netns": record.attachment.netns,
                "pod": str(record.pod),
                "podUid": record.pod.uid,
                "mode": record.config.mode.value,
                "ports": sorted({item.port_id for item in record.addresses}),
                "why": found.waits.get(record.id, ""),
                "error": record.failure.message if record.failure else "",
            }
            for record in found.leases
        ],
        "differences": [
            {"kind": item.kind.value, "address": item.address, "text": item.text}
            for item in found.findings
        ],
        "problems": found.problems,
        "capacity": [item.for_programs for item in room],
        "warnings": found.warnings,
    }
