"""`neutron-cni install` and `uninstall`: the files that a container runtime looks for on a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neutron_cni.cli import conflist, node_files
from neutron_cni.ipam.audit.configured import SUFFIXES
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import DEFAULT_STATE_DIR, Mode

BinDir = Annotated[Path, typer.Option(help="Where the runtime looks for plugins.")]
ConfDir = Annotated[
    Path | None,
    typer.Option(help="Where it looks for networks, such as /etc/cni/net.d; unset: not touched."),
]
FileName = Annotated[str, typer.Option(help="Name of the network's file in the conf dir.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(install)
    app.command()(uninstall)


def install(
    bin_dir: BinDir = Path("/opt/cni/bin"),
    conf_dir: ConfDir = None,
    conf_name: FileName = "10-neutron-cni.conflist",
    network: Annotated[
        str | None, typer.Option(help="Name of the CNI network; of a new one: neutron.")
    ] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="How pods get addresses; of a new network: fixed-ips.")
    ] = None,
    cloud: Annotated[str | None, typer.Option(help="Name in clouds.yaml.")] = None,
    clouds_file: Annotated[str | None, typer.Option(help="Path of clouds.yaml.")] = None,
    neutron_network: Annotated[
        str | None, typer.Option(help="Neutron network, name or id; required with --mode port.")
    ] = None,
    subnet: Annotated[list[str] | None, typer.Option(help="Subnet to use; repeatable.")] = None,
    state_dir: Annotated[
        str | None,
        typer.Option(help=f"Where the store is; of a new network: {DEFAULT_STATE_DIR}."),
    ] = None,
) -> None:
    """Install the plugins in the CNI bin dir and, with --conf-dir, a network for the pods.

    Run it again after an upgrade: of a network that is there only what an option names is changed
    (an empty one takes the key out), and a copy of the former file is kept. The network's file is
    written last: from then on the runtime attaches new pods to the network.
    """
    options = {
        "mode": mode and mode.value,
        "cloud": cloud,
        "cloudsFile": clouds_file,
        "network": neutron_network,
        "subnets": [item for item in subnet if item] if subnet else None,
        "stateDir": "" if state_dir == DEFAULT_STATE_DIR else state_dir,
    }
    target = conf_dir / _loaded(conf_name) if conf_dir is not None else None
    change = conflist.plan(target, network, options) if target is not None else None
    folders = [bin_dir, *([change.path.parent, change.state_dir] if change is not None else [])]
    for folder in folders:
        node_files.require_writable(folder)
    with node_files.in_words(bin_dir):
        for path in node_files.install_launchers(bin_dir):
            typer.echo(f"wrote {path}")
    if change is not None and target is not None:
        with node_files.in_words(target):
            _write_network(change, target)


def _loaded(name: str) -> str:
    """The name, if runtimes load a file that is called so. Raises CniError."""
    if Path(name).name == name and Path(name).suffix in SUFFIXES:
        return name
    raise CniError(
        Code.INVALID_CONFIG,
        f"runtimes load no network from a file {name!r}",
        f"--conf-name must be a file's name that ends with {', '.join(SUFFIXES)}",
    )


def _write_network(change: conflist.Change, target: Path) -> None:
    copy = conflist.write(change)
    if copy is None and change.former is not None:
        typer.echo(f"kept {target}: it says what was asked for")
    else:
        typer.echo(f"wrote {target}{f'; the former one is {copy}' if copy else ''}")
    first = conflist.before(target)
    if first is not None:
        said = f"{first} comes first by its name, and runtimes take the first network"
        typer.secho(f"warning: {said}", fg="yellow", err=True)


def uninstall(
    bin_dir: BinDir = Path("/opt/cni/bin"),
    conf_dir: ConfDir = None,
    conf_name: FileName = "10-neutron-cni.conflist",
) -> None:
    """Remove the network's file (with --conf-dir) and the plugins. Pods keep their interfaces.

    Drain the node first: without the plugins, the runtime can't take pods down.
    """
    if conf_dir is not None:
        with node_files.in_words(conf_dir / conf_name):
            if (conf_dir / conf_name).exists():
                (conf_dir / conf_name).unlink()
                typer.echo(f"removed {conf_dir / conf_name}")
    with node_files.in_words(bin_dir):
        for path in node_files.remove_launchers(bin_dir):
            typer.echo(f"removed {path}")
