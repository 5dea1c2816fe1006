"""`neutron-cni install` and `uninstall`: the files that a container runtime looks for on a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neutron_cni.cli import node_files
from neutron_cni.cli.leases import StateDir
from neutron_cni.ipam.modes import MODES
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
    network: Annotated[str, typer.Option(help="Name of the CNI network.")] = "neutron",
    mode: Annotated[Mode, typer.Option(help="How pods get addresses.")] = Mode.FIXED_IPS,
    cloud: Annotated[str | None, typer.Option(help="Name in clouds.yaml.")] = None,
    clouds_file: Annotated[str | None, typer.Option(help="Path of clouds.yaml.")] = None,
    neutron_network: Annotated[
        str | None, typer.Option(help="Neutron network, name or id; required with --mode port.")
    ] = None,
    subnet: Annotated[list[str] | None, typer.Option(help="Subnet to use; repeatable.")] = None,
    state_dir: StateDir = Path("/var/lib/neutron-cni"),
) -> None:
    """Install the plugins in the CNI bin dir and, with --conf-dir, a network for the pods.

    Run it again after an upgrade. The network's file is written last: from then on the runtime
    attaches new pods to the network.
    """
    if conf_dir is not None and MODES[mode].needs_network and not neutron_network:
        raise CniError(
            Code.INVALID_CONFIG,
            f"mode {mode} needs to know the Neutron network",
            "name it with --neutron-network",
        )
    for path in node_files.install_launchers(bin_dir):
        typer.echo(f"wrote {path}")
    if conf_dir is None:
        return
    ipam: dict[str, object] = {"type": "cni-ipam-neutron", "mode": mode.value}
    options = {
        "cloud": cloud,
        "cloudsFile": clouds_file,
        "network": neutron_network,
        "subnets": subnet,
        "stateDir": "" if str(state_dir) == DEFAULT_STATE_DIR else str(state_dir),
    }
    ipam.update({key: value for key, value in options.items() if value})
    target = conf_dir / conf_name
    node_files.write_conflist(target, network, ipam)
    typer.echo(f"wrote {target}")


def uninstall(
    bin_dir: BinDir = Path("/opt/cni/bin"),
    conf_dir: ConfDir = None,
    conf_name: FileName = "10-neutron-cni.conflist",
) -> None:
    """Remove the network's file (with --conf-dir) and the plugins. Pods keep their interfaces.

    Drain the node first: without the plugins, the runtime can't take pods down.
    """
    if conf_dir is not None and (conf_dir / conf_name).exists():
        (conf_dir / conf_name).unlink()
        typer.echo(f"removed {conf_dir / conf_name}")
    for path in node_files.remove_launchers(bin_dir):
        typer.echo(f"removed {path}")
