"""`neutron-cni gc`: release what no container uses, here or for a node that is gone."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neutron_cni.cli.leases import NO_NODE, ConfDir, StateDir, anchors, compare_all, is_no_node
from neutron_cni.values.errors import CniError, Code

if TYPE_CHECKING:
    from neutron_cni.ipam.audit.compare import Finding
    from neutron_cni.ipam.audit.leavings import NodeKnown
    from neutron_cni.store import Store
    from neutron_cni.values.ipam_config import IpamConfig

Apply = Annotated[bool, typer.Option(help="Do it; without, only say what would be done.")]
LOCK_SECONDS = 30.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(gc)


def gc(
    apply: Apply = False,
    node: Annotated[
        str | None, typer.Option(help="What this node, which is gone, left in Neutron.")
    ] = None,
    cloud: Annotated[str | None, typer.Option(help="With --node: name in clouds.yaml.")] = None,
    clouds_file: Annotated[str | None, typer.Option(help="Path of clouds.yaml.")] = None,
    cluster: Annotated[str, typer.Option(help="With --node: only of this cluster.")] = "",
    install: Annotated[
        str, typer.Option(help="With --node: only of this installation (6 hex digits).")
    ] = "",
    kubeconfig: Annotated[
        str | None, typer.Option(help="With --node: ask this API server whether it is gone.")
    ] = None,
    node_is_gone: Annotated[
        bool, typer.Option(help="With --node, where no API server can be asked: you know it is.")
    ] = False,
    state_dir: StateDir = Path("/var/lib/neutron-cni"),
    conf_dir: ConfDir = Path("/etc/cni/net.d"),
) -> None:
    """Release what no container on this node uses; with --node, what a lost node left behind.

    Says what it would do, and why; --apply does it.
    """
    if node is None:
        _this_node(apply, state_dir, conf_dir)
        return
    _refuse_own(node, install, state_dir, conf_dir)
    judge = _judge(kubeconfig, node_is_gone)
    _other_node(apply, node, cloud, clouds_file, cluster, install, judge)


def _refuse_own(node: str, install: str, state_dir: Path, conf_dir: Path) -> None:
    """This node's own leases are not for others to remove, those of a former installation are."""
    from neutron_cni.ipam.node import name as node_name
    from neutron_cni.store import Store

    with Store(str(state_dir)) as store:
        configs = [item for some in anchors(store, conf_dir).values() for item in some]
        own_install = store.fact("install")
    names = {socket.gethostname(), *(node_name(config) for config in configs)}
    if node in names and (not install or install == own_install):
        raise CniError(
            Code.INVALID_CONFIG,
            f"{node} is this node",
            "leave --node out, or name a former installation of it with --install",
        )


def _this_node(apply: bool, state_dir: Path, conf_dir: Path) -> None:
    from ipaddress import ip_address

    from neutron_cni.ipam.audit.compare import Kind, unused
    from neutron_cni.ipam.node import namespace_with
    from neutron_cni.netlink.undo import remove_stale_proxies
    from neutron_cni.store import Store

    if is_no_node(state_dir, conf_dir):
        typer.echo(NO_NODE % conf_dir)
        return
    with Store(str(state_dir)) as store:
        idle = unused(store.all(), namespace_with)
        differing, problems = compare_all(store, conf_dir)
        lost = [item for item in differing if item.kind is Kind.UNKNOWN]
        for finding in idle:
            _say(apply, "release", finding)
        for finding in lost:
            used = any(namespace_with(ip_address(item)) for item in finding.address.split(", "))
            _say(apply, "take over" if used else "release", finding)
        released = {item.record_id for item in idle}
        missing = [item for item in differing if item.mendable and item.record_id not in released]
        for finding in missing:
            _say(apply, "put back", finding)
        if apply:
            _release(store, released)
            problems += _settle_all(store, conf_dir)
            remove_stale_proxies()
        _summary(len(idle) + len(lost) + len(missing), apply)
        waiting = store.due(time.time())
    for problem in dict.fromkeys(problems):
        typer.secho(f"could not look: {problem}", fg="red", err=True)
    if apply and waiting:
        typer.echo("what rests, or waits for Neutron, is given back in the background: see leases")
    if problems:
        raise typer.Exit(1)


def _release(store: Store, record_ids: set[int]) -> None:
    """Those that are idle still: Neutron was asked meanwhile, and a container may have come."""
    from neutron_cni.ipam.audit.compare import unused
    from neutron_cni.ipam.node import namespace_with

    records = [record for record in store.all() if record.id in record_ids]
    idle = {item.record_id for item in unused(records, namespace_with)}
    for record in records:
        if record.id in idle:
            store.release(record.id, record.config.quarantine)


def _say(apply: bool, what: str, finding: Finding) -> None:
    typer.echo(f"{'' if apply else 'would '}{what} {finding.address}: {finding.text}")


def _settle_all(store: Store, conf_dir: Path) -> list[str]:
    """Take over what the store lost, and give back what is due; the rest is the sweeper's.

    Returns what could not be done, in sentences; one cloud that is down does not stop the others.
    """
    from neutron_cni.ipam.sweeper import start_sweeper

    problems = []
    for (anchor, _), configs in anchors(store, conf_dir).items():
        try:
            _settle(store, anchor, configs)
        except CniError as error:
            problems.append(str(error))
    start_sweeper(str(store.path.parent))
    return problems


def _settle(store: Store, anchor: str, configs: list[IpamConfig]) -> None:
    from neutron_cni.ipam.lock import anchor_lock
    from neutron_cni.ipam.modes import port
    from neutron_cni.ipam.settling import connect, settle_mode
    from neutron_cni.values.deadline import Deadline
    from neutron_cni.values.ipam_config import Mode

    deadline = Deadline.after(LOCK_SECONDS)
    with anchor_lock(str(store.path.parent), anchor) as lock:
        while not lock.try_acquire():
            deadline.require(f"waiting for the lock of {anchor}")
            time.sleep(0.05)
        context = connect(store, configs, anchor, Deadline.after(configs[-1].timeout))
        if context.config.mode is Mode.PORT:
            port.adopt_all(context)
        settle_mode(context)


def _judge(kubeconfig: str | None, node_is_gone: bool) -> NodeKnown:
    from neutron_cni.ipam.audit.leavings import known_to_api_server

    if kubeconfig:
        return known_to_api_server(kubeconfig)
    if node_is_gone:
        return lambda _: False
    raise CniError(
        Code.INVALID_CONFIG,
        "whether a node is gone can't be told without its API server",
        "give --kubeconfig, or --node-is-gone if you know that it is",
    )


def _other_node(
    apply: bool,
    node: str,
    cloud: str | None,
    clouds_file: str | None,
    cluster: str,
    install: str,
    node_known: NodeKnown,
) -> None:
    from neutron_cni.ipam.audit.leavings import leavings
    from neutron_cni.openstack.neutron import Neutron
    from neutron_cni.values.deadline import Deadline

    neutron = Neutron.connect(cloud, clouds_file, Deadline.after(600.0))
    found = leavings(neutron, node, cluster, install, node_known)
    for item in found:
        what = ", ".join(str(fixed.address) for fixed in item.port.fixed_ips)
        if item.keep:
            typer.echo(f"keep {what} (port {item.port.id}): {item.keep}")
            continue
        typer.echo(f"{'remove' if apply else 'would remove'} {what} (port {item.port.id})")
        if apply:
            neutron.delete_port(item.port.id)
    _summary(sum(1 for item in found if not item.keep), apply)


def _summary(count: int, apply: bool) -> None:
    if not count:
        typer.echo("nothing to do")
    elif not apply:
        typer.echo(f"{count} to do; nothing was changed, --apply does it")
