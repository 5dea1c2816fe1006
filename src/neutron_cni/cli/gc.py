"""`neutron-cni gc`: releases what no container uses, here or left by a node that is gone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neutron_cni.cli.leases import NO_NODE, ConfDir, StateDir
from neutron_cni.values.errors import CniError, Code

if TYPE_CHECKING:
    from neutron_cni.ipam.audit.leavings import NodeKnown

_LOOK = (
    "run it on the node, or in a container with hostPID and hostNetwork; --view-is-whole if you "
    "know that every pod can be seen from here"
)
Apply = Annotated[bool, typer.Option(help="Do it; without, only say what would be done.")]


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
    view_is_whole: Annotated[
        bool, typer.Option(help="Also in a container with namespaces of its own: you know better.")
    ] = False,
    state_dir: StateDir = Path("/var/lib/neutron-cni"),
    conf_dir: ConfDir = Path("/etc/cni/net.d"),
) -> None:
    """Release addresses that no container on this node uses; with --node, what a lost node left.

    Says what it would do, and why; --apply does it.
    """
    if node is None:
        _this_node(apply, view_is_whole, state_dir, conf_dir)
        return
    _refuse_own(node, install, state_dir, conf_dir)
    judge = _judge(kubeconfig, node_is_gone)
    _other_node(apply, node, cloud, clouds_file, cluster, install, judge)


def _refuse_own(node: str, install: str, state_dir: Path, conf_dir: Path) -> None:
    """This node's own leases are not for others to remove, those of a former installation are."""
    from neutron_cni.ipam.audit.survey import names_of_this_node
    from neutron_cni.store import Store

    with Store(str(state_dir)) as store:
        names = names_of_this_node(store, conf_dir)
        own_install = store.fact("install")
    if node in names and (not install or install == own_install):
        raise CniError(
            Code.INVALID_CONFIG,
            f"{node} is this node",
            "leave --node out, or name a former installation of it with --install",
        )


def _this_node(apply: bool, view_is_whole: bool, state_dir: Path, conf_dir: Path) -> None:
    from neutron_cni.cli.links import linked
    from neutron_cni.ipam.audit.mend import mend
    from neutron_cni.ipam.audit.sight import blind_spot
    from neutron_cni.ipam.audit.survey import is_no_node, work_to_do
    from neutron_cni.store import Store

    if is_no_node(state_dir, conf_dir):
        typer.echo(NO_NODE % conf_dir)
        return
    with Store(str(state_dir)) as store:
        blind = "" if view_is_whole else blind_spot(store)
        if apply and blind:
            raise CniError(Code.INVALID_ENVIRONMENT, f"nothing was released: {blind}", _LOOK)
        work = work_to_do(store, conf_dir, linked)
        for action, finding in work.steps:
            what = f"{'' if apply else 'would '}{action}"
            typer.echo(f"{what} {finding.address}: {finding.text}")
        for finding in work.kept:
            typer.echo(f"keep {finding.address}: {finding.text}")
        problems = work.problems + ([f"{blind} ({_LOOK})"] if blind else [])
        if apply:
            problems += mend(store, conf_dir, work, linked)
        _summary(len(work.steps), apply)
        waiting = store.due(time.time())
    for warning in work.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    for problem in dict.fromkeys(problems):
        typer.secho(f"could not look: {problem}", fg="red", err=True)
    if apply and waiting:
        typer.echo("what rests, or waits for Neutron, is given back in the background: see leases")
    if problems:
        raise typer.Exit(1)


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
    from neutron_cni.ipam.audit.leavings import Leavings

    leavings = Leavings(cloud, clouds_file)
    found = leavings.find(node, cluster, install, node_known)
    for item in found:
        what = f"{item.address} (port {item.port.id})"
        if item.keep:
            typer.echo(f"keep {what}: {item.keep}")
            continue
        typer.echo(f"{'remove' if apply else 'would remove'} {what}")
        if apply:
            leavings.remove(item)
    _summary(sum(1 for item in found if not item.keep), apply)


def _summary(count: int, apply: bool) -> None:
    if not count:
        typer.echo("nothing to do")
    elif not apply:
        typer.echo(f"{count} to do; nothing was changed, --apply does it")
