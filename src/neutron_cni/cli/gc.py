"""`neutron-cni gc`: releases what no container uses, here or left by a node that is gone."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neutron_cni.cli.leases import NO_NODE, ConfDir, StateDir
from neutron_cni.cni.document import parse_address
from neutron_cni.values.errors import CniError, Code

if TYPE_CHECKING:
    from neutron_cni.ipam.audit.leavings import NodeKnown
    from neutron_cni.ipam.audit.survey import Work
    from neutron_cni.ipam.modes.contract import Finding
    from neutron_cni.store import Store

_LOOK = (
    "run it on the node, or in a container with hostPID and hostNetwork; --view-is-whole if you "
    "know that every pod can be seen from here"
)
MOST_NAMES = 20
"""Nodes that are named to who looks for another one."""
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
    free: Annotated[
        list[str] | None,
        typer.Option(help="Release this address too, which gc has called doubtful; repeatable."),
    ] = None,
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
        _this_node(apply, free or [], view_is_whole, state_dir, conf_dir)
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


def _this_node(
    apply: bool, free: list[str], view_is_whole: bool, state_dir: Path, conf_dir: Path
) -> None:
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
        if blind and (apply or free):
            raise CniError(Code.INVALID_ENVIRONMENT, f"nothing was released: {blind}", _LOOK)
        work = work_to_do(store, conf_dir, linked)
        named = _named(free, work.doubtful)
        _print_work(work, named, apply, blind)
        problems = work.problems + ([f"{blind} ({_LOOK})"] if blind else [])
        if apply:
            problems += [*_freed(store, named), *mend(store, conf_dir, work, linked)]
        _summary(len(work.steps) + len(named), apply, problems)
        waiting = store.due(time.time())
    for warning in work.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    for problem in dict.fromkeys(problems):
        typer.secho(f"could not look: {problem}", fg="red", err=True)
    if apply and waiting:
        typer.echo("what rests, or waits for Neutron, is given back in the background: see leases")
    if problems:
        raise typer.Exit(1)


def _named(free: list[str], doubtful: list[Finding]) -> list[Finding]:
    """The doubtful leases that have the addresses `free`. Raises CniError for any other address."""
    found: list[Finding] = []
    for text in free:
        address = parse_address(text, "--free")
        having = [item for item in doubtful if address in item.addresses]
        if not having:
            raise CniError(
                Code.INVALID_CONFIG,
                f"{address} is not doubtful, so it is not freed",
                "gc names what is; nothing was changed",
            )
        found += [item for item in having if item not in found]
    return found


def _print_work(work: Work, named: list[Finding], apply: bool, blind: str) -> None:
    from neutron_cni.ipam.audit.survey import Action

    steps = [*work.steps, *((Action.RELEASE, finding) for finding in named)]
    for action, finding in steps:
        typer.echo(f"{'' if apply else 'would '}{action} {finding.address}: {finding.text}")
    for finding in work.kept:
        typer.echo(f"keep {finding.address}: {finding.text}")
    # Who does not see all processes finds every lease doubtful.
    for finding in work.doubtful if not blind else ():
        if finding not in named:
            how = f"if not: --free {finding.addresses[0]}"
            typer.echo(f"doubtful {finding.address}: {finding.text} ({how})")


def _freed(store: Store, named: list[Finding]) -> list[str]:
    """Release these; what was in the way of some, in sentences."""
    from neutron_cni.cli.links import remove
    from neutron_cni.ipam.audit.mend import free

    return [why for finding in named if (why := free(store, finding, remove))]


def _judge(kubeconfig: str | None, node_is_gone: bool) -> NodeKnown:
    from neutron_cni.cli.api_server import known_nodes

    if kubeconfig:
        return known_nodes(kubeconfig)
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

    with closing(Leavings(cloud, clouds_file)) as leavings:
        found = leavings.find(node, cluster, install, node_known)
        if not found:
            which = f" in cluster {cluster}" if cluster else ""
            by = f" by installation {install}" if install else ""
            typer.echo(f"no port carries the tag of node {node}{which}{by}")
            seen = leavings.nodes_seen(node, cluster)
            more = f" and {len(seen) - MOST_NAMES} more" if len(seen) > MOST_NAMES else ""
            typer.echo(f"nodes seen{which}: {', '.join(seen[:MOST_NAMES]) or 'none'}{more}")
        for item in found:
            what = f"{item.address} (port {item.port.id})"
            if item.keep:
                typer.echo(f"keep {what}: {item.keep}")
                continue
            typer.echo(f"{'remove' if apply else 'would remove'} {what}")
            if apply:
                leavings.remove(item)
    _summary(sum(1 for item in found if not item.keep), apply, [])


def _summary(count: int, apply: bool, problems: list[str]) -> None:
    if not count and problems:
        typer.echo("nothing was found to do, but not all could be looked at")
    elif not count:
        typer.echo("nothing to do")
    elif not apply:
        typer.echo(f"{count} to do; nothing was changed, --apply does it")
