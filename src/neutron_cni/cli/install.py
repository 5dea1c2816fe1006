"""`neutron-cni install` and `uninstall`: the files that a container runtime looks for on a node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from neutron_cni.cli import chain, conflist, device_rules, node_files
from neutron_cni.ipam.audit.configured import SUFFIXES, configured
from neutron_cni.ipam.audit.foreseen import foreseen
from neutron_cni.netlink.plan import IpvlanMode
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import DEFAULT_STATE_DIR, Mode

FORESEE_SECONDS = 10.0
"""How long `install` waits for a cloud that is to say whether DHCP endangers the node."""

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
    plugin: Annotated[
        str | None,
        typer.Option(
            help=f"Main plugin, {' or '.join(chain.MAIN)}; of a new one: {chain.DEFAULT}."
        ),
    ] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="How pods get addresses; of a new network: fixed-ips.")
    ] = None,
    cloud: Annotated[str | None, typer.Option(help="Name in clouds.yaml.")] = None,
    clouds_file: Annotated[str | None, typer.Option(help="Path of clouds.yaml.")] = None,
    neutron_network: Annotated[
        str | None,
        typer.Option(
            help="Neutron network, name or id; required with --mode port and nova-interface."
        ),
    ] = None,
    subnet: Annotated[list[str] | None, typer.Option(help="Subnet to use; repeatable.")] = None,
    state_dir: Annotated[
        str | None,
        typer.Option(help=f"Where the store is; of a new network: {DEFAULT_STATE_DIR}."),
    ] = None,
    master: Annotated[
        str | None, typer.Option(help="For ipvlan: NIC that pods' links are children of.")
    ] = None,
    ipvlan_mode: Annotated[
        IpvlanMode | None, typer.Option(help="For ipvlan: how its links pass packets on.")
    ] = None,
    service_cidr: Annotated[
        list[str] | None,
        typer.Option(help="For neutron-ipvlan, veth-host: a service network; repeatable."),
    ] = None,
    kubeconfig: Annotated[
        str | None,
        typer.Option(help="For the same: ask this API server for the cluster's service networks."),
    ] = None,
) -> None:
    """Install the plugins in the CNI bin dir and, with --conf-dir, a network for the pods.

    Where the machine has udev or systemd-networkd, they are told to leave pods' NICs alone, by a
    file each below /etc.

    Run it again after an upgrade: of a network that is there only what an option names is changed
    (an empty one takes the key out), and a copy of the former file is kept. The network's file is
    written last: from then on the runtime attaches new pods to the network. In mode fixed-ips the
    cloud is asked, if it answers within 10 seconds, whether its DHCP endangers the node's address.
    """
    options = {
        "mode": mode and mode.value,
        "cloud": cloud,
        "cloudsFile": clouds_file,
        "network": neutron_network,
        "subnets": [item for item in subnet if item] if subnet else None,
        "stateDir": "" if state_dir == DEFAULT_STATE_DIR else state_dir,
    }
    wanted = chain.Wanted(
        plugin,
        {"master": master, "mode": ipvlan_mode and ipvlan_mode.value},
        _services(service_cidr, kubeconfig),
    )
    target = conf_dir / _loaded(conf_name) if conf_dir is not None else None
    change = conflist.plan(target, network, options, wanted) if target is not None else None
    folders = [bin_dir, *([change.path.parent, change.state_dir] if change is not None else [])]
    for folder in folders:
        node_files.require_writable(folder)
    with node_files.in_words(bin_dir):
        for path in node_files.install_launchers(bin_dir):
            typer.echo(f"wrote {path}")
    _write_rules(conf_dir, change)
    if change is not None and target is not None:
        with node_files.in_words(target):
            _write_network(change, target)


def _write_rules(conf_dir: Path | None, change: conflist.Change | None) -> None:
    """Have pods' NICs left alone, those of networks that come later (of Multus, by hand) too."""
    stores = {DEFAULT_STATE_DIR}
    if conf_dir is not None and change is not None:
        stores |= {item.state_dir for item in configured(conf_dir).networks.values()}
        stores.add(str(change.state_dir))
    for path in device_rules.install(stores, _warn):
        typer.echo(f"wrote {path}")


def _services(given: list[str] | None, kubeconfig: str | None) -> Callable[[], list[str]] | None:
    """What gives the cluster's service networks; None if nobody asked. Raises CniError."""
    if given is not None and kubeconfig is not None:
        raise CniError(
            Code.INVALID_CONFIG,
            "--service-cidr and --kubeconfig both say what the service networks are",
            "give one of them; nothing was written",
        )
    if kubeconfig is not None:
        from neutron_cni.cli.api_server import service_cidrs

        return lambda: service_cidrs(kubeconfig)
    return None if given is None else lambda: [item for item in given if item]


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
    warnings = list(change.warnings)
    first = conflist.before(target)
    if first is not None:
        warnings.append(f"{first} comes first by its name, and runtimes take the first network")
    warnings += foreseen(change.config, Deadline.after(FORESEE_SECONDS))
    for warning in warnings:
        _warn(warning)


def _warn(sentence: str) -> None:
    typer.secho(f"warning: {sentence}", fg="yellow", err=True)


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
    with node_files.in_words(device_rules.ETC):
        for path in device_rules.uninstall():
            typer.echo(f"removed {path}")
