"""`neutron-cni attach` and `detach`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import DEFAULT_STATE_DIR

if TYPE_CHECKING:
    from neutron_cni.cli.by_hand.work import Done

TargetWord = Annotated[
    str,
    typer.Argument(
        metavar="CONTAINER|PID|NETNS",
        help="Name or id of a container (of a pod: NAMESPACE/NAME), a pid, or a network namespace "
        "by name or path. docker:, podman:, containerd:, pid: or netns: before it says which.",
    ),
]
NetworkName = Annotated[
    str | None, typer.Option(help="Name of the CNI network; unset: the first of the conf dir.")
]
ConfDir = Annotated[Path, typer.Option(help="Where the networks are configured.")]
ConfigFile = Annotated[
    Path | None, typer.Option(help="Take the network from this file, not from the conf dir.")
]
Ifname = Annotated[str, typer.Option(help="What the interface is called in the container.")]
BinDir = Annotated[
    list[Path] | None,
    typer.Option(help="Where the plugins are; repeatable; unset: $CNI_PATH, or /opt/cni/bin."),
]
StateDir = Annotated[Path, typer.Option(help="Where it is recorded what was attached.")]
Timeout = Annotated[float, typer.Option(min=1, help="The most seconds that it may take.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]

_BIN = "/opt/cni/bin"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(attach)
    app.command()(detach)


def attach(
    container: TargetWord,
    network: NetworkName = None,
    ifname: Ifname = "eth0",
    ip: Annotated[
        list[str] | None, typer.Option(help="An address to ask for, 10.0.0.5/24; repeatable.")
    ] = None,
    mac: Annotated[str, typer.Option(help="A MAC to ask for.")] = "",
    conf_dir: ConfDir = Path("/etc/cni/net.d"),
    config: ConfigFile = None,
    bin_dir: BinDir = None,
    state_dir: StateDir = Path(DEFAULT_STATE_DIR),
    timeout: Timeout = 120,
    as_json: AsJson = False,
) -> None:
    """Attach a running container, or any network namespace, to a CNI network.

    Calls the network's plugins as a container runtime does, and prints what they did as the
    commands that one would have typed. detach undoes it.
    """
    _require_root()
    from neutron_cni.cli.by_hand import attaching, work
    from neutron_cni.cni.runtime import Wishes

    chosen = work.choose(conf_dir, network, config)
    place = work.Place(_folders(bin_dir), state_dir, timeout)
    done = attaching.attach(container, ifname, place, chosen, Wishes(tuple(ip or ()), mac))
    _print(done, as_json)


def detach(
    container: TargetWord,
    network: NetworkName = None,
    ifname: Annotated[
        str | None, typer.Option(help="Name of its interface; needed where several are attached.")
    ] = None,
    conf_dir: ConfDir = Path("/etc/cni/net.d"),
    config: ConfigFile = None,
    bin_dir: BinDir = None,
    state_dir: StateDir = Path(DEFAULT_STATE_DIR),
    timeout: Timeout = 120,
    as_json: AsJson = False,
) -> None:
    """Take back what attach did, also when the container is gone or attach was killed.

    Goes by the record that attach left, with the configuration of then, and without one by the
    configuration of now. A container that is gone: name it as at attach, or id: and its container
    id as leases shows it.
    """
    _require_root()
    from neutron_cni.cli.by_hand import detaching, work

    place = work.Place(_folders(bin_dir), state_dir, timeout)
    done = detaching.detach(container, ifname, place, network, work.Source(conf_dir, config))
    _print(done, as_json)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise CniError(Code.INVALID_ENVIRONMENT, "only root can do that", "try it with sudo")


def _folders(given: list[Path] | None) -> tuple[str, ...]:
    """Where plugins are looked for."""
    if given:
        return tuple(str(path) for path in given)
    named = [item for item in os.environ.get("CNI_PATH", "").split(":") if item]
    return tuple(named) or (_BIN,)


def _print(done: Done, as_json: bool) -> None:
    for warning in done.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    if as_json:
        typer.echo(json.dumps(done.document(), indent=2))
        return
    if sys.stdout.isatty():
        _print_table(done)
    else:
        for key, value in done.facts().items():
            typer.echo(f"{key}: {value}")
    for command in done.commands:
        typer.echo(f"  {command}")
    if done.commands:
        typer.echo("(not shown: settings of the kernel, packet rules)")


def _print_table(done: Done) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in done.facts().items():
        table.add_row(key, escape(value))
    Console().print(table)
