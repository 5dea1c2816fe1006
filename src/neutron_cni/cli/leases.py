"""`neutron-cni leases`: the addresses that this node holds, and what differs from Neutron."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neutron_cni.values.errors import CniError

if TYPE_CHECKING:
    from neutron_cni.ipam.audit.compare import Finding
    from neutron_cni.store import Record, Store
    from neutron_cni.values.ipam_config import IpamConfig

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
    from neutron_cni.store import Store

    if is_no_node(state_dir, conf_dir):
        typer.echo(json.dumps(_document([], [], []), indent=2) if as_json else NO_NODE % conf_dir)
        return
    with Store(str(state_dir)) as store:
        records = store.all()
        findings, problems = ([], []) if offline else compare_all(store, conf_dir)
    if as_json:
        typer.echo(json.dumps(_document(records, findings, problems), indent=2))
    else:
        _print_table(records, findings, problems, offline)
    if findings or problems:
        raise typer.Exit(1)


def is_no_node(state_dir: Path, conf_dir: Path) -> bool:
    """Whether nothing here was ever ours: then there is no store to be made for looking at it."""
    from neutron_cni.ipam.audit.configured import configured

    return not (state_dir / "store.db").exists() and not configured(conf_dir)


def compare_all(store: Store, conf_dir: Path) -> tuple[list[Finding], list[str]]:
    """Every configured or used network compared with Neutron; and why some could not be."""
    from neutron_cni.ipam.audit.compare import against_neutron
    from neutron_cni.ipam.settling import connect
    from neutron_cni.values.deadline import Deadline

    findings: list[Finding] = []
    problems: list[str] = []
    for anchor, configs in anchors(store, conf_dir).items():
        try:
            deadline = Deadline.after(configs[-1].timeout)
            findings += against_neutron(connect(store, configs, anchor[0], deadline))
        except CniError as error:
            problems.append(str(error))
    return findings, list(dict.fromkeys(problems))


def anchors(store: Store, conf_dir: Path) -> dict[tuple[str, str], list[IpamConfig]]:
    """What can be asked about: by anchor and mode. Ports of their own are asked for all at once."""
    from neutron_cni.ipam.audit.configured import configured
    from neutron_cni.ipam.settling import anchor_for
    from neutron_cni.values.ipam_config import Mode

    found: dict[tuple[str, str], list[IpamConfig]] = {}
    here = store.path.parent
    # A network with another store is none of this one's.
    mine = [item for item in configured(conf_dir).values() if Path(item.state_dir) == here]
    for config in [*(record.config for record in store.all()), *mine]:
        own = config.mode is Mode.PORT
        key = (anchor_for(config, "all" if own else ""), config.mode.value)
        found[key] = [item for item in found.get(key, []) if item != config] + [config]
    return found


def _print_table(
    records: list[Record], findings: list[Finding], problems: list[str], offline: bool
) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("address", "state", "since", "pod or container", "if", "network", "mode"):
        table.add_column(name, no_wrap=name in ("address", "state", "since"))
    for record in records:
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
    console.print(table) if records else console.print("This node holds no addresses.")
    for finding in findings:
        console.print(
            f"[yellow]{finding.kind}[/] {finding.address}: {escape(finding.text)}", soft_wrap=True
        )
    for problem in problems:
        console.print(f"[red]could not compare[/]: {escape(problem)}", soft_wrap=True)
    if not (offline or findings or problems):
        console.print("Neutron agrees.")


def _state(record: Record) -> str:
    left = record.until - time.time()
    return f"{record.state.value} ({left:.0f} s left)" if left > 0 else record.state.value


def _document(
    records: list[Record], findings: list[Finding], problems: list[str]
) -> dict[str, Any]:
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
            for record in records
        ],
        "differences": [
            {"kind": item.kind.value, "address": item.address, "text": item.text}
            for item in findings
        ],
        "problems": problems,
    }
