"""`neutron-cni leases`: the addresses that this node holds, and what differs from Neutron."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from neutron_cni.ipam.audit.survey import Survey
    from neutron_cni.store import Record

StateDir = Annotated[Path, typer.Option(help="Where the store is (`stateDir` of the network).")]
ConfDir = Annotated[Path, typer.Option(help="Where the networks are configured.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


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
    from neutron_cni.ipam.audit.survey import Survey, is_no_node, survey
    from neutron_cni.store import Store

    if is_no_node(state_dir, conf_dir):
        nothing = json.dumps(_document(Survey([], [], [])), indent=2)
        typer.echo(nothing if as_json else NO_NODE % conf_dir)
        return
    with Store(str(state_dir)) as store:
        found = survey(store, conf_dir, offline)
    if as_json:
        typer.echo(json.dumps(_document(found), indent=2))
    else:
        _print_table(found, offline)
    if found.findings or found.problems:
        raise typer.Exit(1)


def _print_table(found: Survey, offline: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("address", "state", "since", "pod or container", "if", "network", "mode"):
        table.add_column(name, no_wrap=name in ("address", "state", "since"))
    for record in found.leases:
        table.add_row(
            "\n".join(str(item.address) for item in record.addresses) or "-",
            _state(record),
            f"{time.time() - record.changed:.0f} s",
            escape(
                str(record.pod) or record.attachment.container_id[:24] or f"token {record.token}"
            ),
            escape(record.attachment.ifname or "-"),
            record.network or "-",
            record.config.mode.value,
        )
    console.print(table) if found.leases else console.print("This node holds no addresses.")
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


def _state(record: Record) -> str:
    left = record.until - time.time()
    return f"{record.state.value} ({left:.0f} s left)" if left > 0 else record.state.value


def _document(found: Survey) -> dict[str, Any]:
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
                "error": record.failure.message if record.failure else "",
            }
            for record in found.leases
        ],
        "differences": [
            {"kind": item.kind.value, "address": item.address, "text": item.text}
            for item in found.findings
        ],
        "problems": found.problems,
        "warnings": found.warnings,
    }
