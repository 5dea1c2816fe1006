"""``neutron-cni lab``: the commands, each a few lines over `Lab`."""

import os
import shlex
import time
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from neutron_cni_lab import status
from neutron_cni_lab.driver import DEFAULT, DriverName
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.node import NodeKind
from neutron_cni_lab.paths import default_name
from neutron_cni_lab.progress import Progress
from neutron_cni_lab.release import ReleaseName


class Commands(TyperGroup):
    """Commands that end what can go wrong with a sentence and status 1, without a trace."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            typer.secho(sentence, fg="red", err=True)
            raise typer.Exit(1) from None


def _sentence(error: Exception) -> str | None:
    """What to tell of `error`; None if it is a mistake in this program."""
    if isinstance(error, LabError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return f"{error}\n  `df -h` tells whether a disk is full; then run it again."
    # Told by name: importing them takes 0.4 s.
    if type(error).__module__.partition(".")[0] in ("openstack", "keystoneauth1"):
        return f"Neutron: {error}\n  `neutron-cni lab logs neutron` tells more."
    return None


app = typer.Typer(
    name="lab",
    cls=Commands,
    help="A real Neutron, OVN and a few VMs on this machine, to try neutron-cni on.",
    no_args_is_help=True,
)
node_app = typer.Typer(help="Add, remove, stop and start nodes.", no_args_is_help=True)
app.add_typer(node_app, name="node")

NoReboot = Annotated[
    bool,
    typer.Option("--noreboot", help="A VM of kind uml that reboots or panics stays down."),
]
Name = Annotated[
    str | None,
    typer.Option("--name", help="Which lab (default: $NEUTRON_CNI_LAB_NAME, else demo)."),
]

DriverOption = Annotated[
    DriverName | None,
    typer.Option(
        "--driver",
        help="A new lab's mechanism driver: ML2/OVN (the default), or ML2/OVS with the agents.",
    ),
]


_DEMOS = (
    "`veth-route` (also without a word; lab `demo`) on nodes with the host's kernel, "
    "`ipvlan` (lab `ipvlan`) on VMs with kernels of their own, `nic` (lab `nic`) on one with a Nova"
)
_KINDS = "`namespace`, with the host's kernel, or `uml`, a VM with a kernel of its own"


@app.command()
def install(
    kubernetes: Annotated[
        bool,
        typer.Option(
            "--kubernetes",
            help="Instead build Multus, kube-apiserver, kube-proxy and etcd, which takes some "
            "minutes.",
        ),
    ] = False,
) -> None:
    """Install Neutron, the upstream CNI programs and the VMs' kernel into the cache folder."""
    progress, software = Progress(), _lab(None).software
    if kubernetes:
        software.multus.install(progress)
        software.kubernetes.install(progress)
    else:
        software.install(progress)
    progress.done("installed")


@app.command()
def up(
    nodes: Annotated[
        NodeKind | None, typer.Option("--nodes", help=f"What node1 and node2 are: {_KINDS}.")
    ] = None,
    nova: Annotated[
        bool, typer.Option("--nova", help="With a Nova from now on, whose servers the VMs are.")
    ] = False,
    driver: DriverOption = None,
    neutron: Annotated[
        ReleaseName | None,
        typer.Option("--neutron", help="A new lab's release of Neutron: 29 (the default), or 21."),
    ] = None,
    name: Name = None,
) -> None:
    """Start the lab, or repair what of it has died; then nodes are what they were."""
    progress, lab = Progress(), _lab(name)
    kernel = nodes.kernel if nodes else None
    lab.up(progress, kernel=kernel, nova=nova, driver=driver, release=neutron)
    progress.done(f"lab {lab.places.name} is up; `neutron-cni lab status` shows it")


@app.command()
def demo(
    what: Annotated[str, typer.Argument(help=f"What to show: {_DEMOS}.")] = "veth-route",
    name: Annotated[
        str | None,
        typer.Option("--name", help="Which lab (default: $NEUTRON_CNI_LAB_NAME, else see WHAT)."),
    ] = None,
    driver: DriverOption = None,
    began: Annotated[float | None, typer.Option(hidden=True, help="Unix seconds.")] = None,
) -> None:
    """Start the lab, make pods on it, and measure what they reach; status 1 if a check fails."""
    from neutron_cni_lab.demo import (
        have_nic_lab,
        ipvlan,
        nic,
        show_ipvlan,
        show_nic,
        show_veth_route,
    )

    since = began or time.time()
    labs = {"veth-route": "demo", "ipvlan": ipvlan.LAB, "nic": nic.LAB}
    if what not in labs:
        raise LabError(f"there is no demo {what!r}", f"There are: {_DEMOS}.")
    beside = driver if driver and driver != DEFAULT else ""
    lab = _lab(name or default_name(labs[what] + beside))
    if what == "veth-route":
        lab.up(Progress(), driver=driver)
        passed = show_veth_route(lab, since)
    elif what == "ipvlan":
        lab.up(Progress(), kernel="own", driver=driver)
        passed = show_ipvlan(lab, since)
    else:
        have_nic_lab(lab, Progress(), driver)
        passed = show_nic(lab, since)
    if not passed:
        raise typer.Exit(1)


@app.command()
def down(
    name: Name = None,
    keep_logs: Annotated[
        bool, typer.Option("--keep-logs", help="Leave its logs, in logs-of-NAME beside its folder.")
    ] = False,
) -> None:
    """End the lab and remove all of it, installed software excepted."""
    progress, lab = Progress(), _lab(name)
    lab.down(progress, keep_logs)
    logs = lab.places.kept_logs
    kept = f"; its logs are in {logs}" if keep_logs and logs.exists() else ""
    progress.done(f"lab {lab.places.name} is gone{kept}")


@app.command("status")
def show_status(name: Name = None) -> None:
    """Show parts, nodes and addresses; status 1 unless all is up.

    Daemons of Open vSwitch and OVN that crash are started again by themselves: how often, and when
    last, is told. A node that `node stop` has stopped is shown, and is no failure.
    """
    lab = _lab(name)
    if not status.show(lab):
        raise typer.Exit(1)


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(node: str, command: list[str], name: Name = None) -> None:
    """Run COMMAND on NODE (or on `internet`, the host out there); write it after `--`.

    With ML2/OVS also in `router`, the namespace of the lab's router.

    It has an environment of its own: further variables by `-- env NAME=VALUE COMMAND`.
    """
    _open(name).node(node).become(command)


@app.command()
def env(name: Name = None) -> None:
    """Print what an OpenStack client needs, for `eval "$(neutron-cni lab env)"`."""
    facts = Lab.open(name).facts
    url = facts["api_url"]
    directly = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    settings = {
        "OS_AUTH_TYPE": "none",
        "OS_ENDPOINT": url,
        "OS_NETWORK_ENDPOINT_OVERRIDE": url,
        **({"OS_COMPUTE_ENDPOINT_OVERRIDE": facts["nova_url"]} if "nova_url" in facts else {}),
        "no_proxy": ",".join(dict.fromkeys([*filter(None, directly.split(",")), "127.0.0.1"])),
    }
    for key, value in settings.items():
        typer.echo(f"export {key}={shlex.quote(value)}")


@app.command()
def logs(
    part: Annotated[str | None, typer.Argument(help="One part; all when left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing.")] = False,
    name: Name = None,
) -> None:
    """Print the logs of the lab's parts."""
    folder = _lab(name).places.logs
    files = sorted(folder.glob(f"{part or '*'}.log"))
    if not files:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.log"))) or "none yet"
        raise LabError(f"no log of {part or 'any part'}", f"There are: {known}.")
    words = ["tail", "-n", "200" if part else "20", *(["-F"] if follow else []), *map(str, files)]
    os.execvp("tail", words)


@node_app.command("add")
def node_add(
    node: str,
    network: Annotated[str, typer.Option(help="tenant, dual or external.")] = "tenant",
    bare: Annotated[bool, typer.Option("--bare", help="No VM: beside the cloud.")] = False,
    kind: Annotated[
        NodeKind, typer.Option("--kind", help=f"What it is: {_KINDS}.")
    ] = NodeKind.NAMESPACE,
    name: Name = None,
) -> None:
    """Add a node."""
    progress = Progress()
    with progress.step(f"node {node}"):
        made = _open(name).add_node(node, network, "bare" if bare else "vm", kind.kernel)
    typer.echo(made.address)


@node_app.command("rm")
def node_remove(node: str, name: Name = None) -> None:
    """Remove a node and its port."""
    with Progress().step(f"remove node {node}"):
        _open(name).remove_node(node)


@node_app.command("restart")
def node_restart(node: str, noreboot: NoReboot = False, name: Name = None) -> None:
    """Restart a node, as by its power switch.

    /var/lib and /etc (with /etc/cni) are kept. Processes, pods with their namespaces, devices and
    /run are lost, and its boot id is a new one, as after any reboot.
    """
    with Progress().step(f"restart node {node}"):
        _open(name).reboot_node(node, noreboot)


@node_app.command("stop")
def node_stop(node: str, name: Name = None) -> None:
    """Switch a node off until `start` or `restart`; `lab up` leaves it so.

    What `restart` keeps is kept, and its Neutron port.
    """
    with Progress().step(f"stop node {node}"):
        _open(name).stop_node(node)


@node_app.command("start")
def node_start(node: str, noreboot: NoReboot = False, name: Name = None) -> None:
    """Switch a node on that was stopped or has died; one that runs is left alone."""
    with Progress().step(f"start node {node}"):
        _open(name).start_node(node, noreboot)


def _lab(name: str | None) -> Lab:
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes namespaces", "Use sudo.")
    return Lab(name)


def _open(name: str | None) -> Lab:
    return Lab.open(_lab(name).places.name)
