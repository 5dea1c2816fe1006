"""kube-proxy on a node with a kernel of its own."""

import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.kubernetes.control_plane import ControlPlane
from neutron_cni_lab.kubernetes.objects import NAMESPACE, Service
from neutron_cni_lab.node import Node
from neutron_cni_lab.processes import wait_until

_FOLDER = "/run/kube-proxy"
"""On the node; it is empty after a reboot, and kube-proxy runs no longer then."""

_LOG = "/var/log/kube-proxy.log"

_START = """
set -e
mkdir -p {folder}/programs {folder}/path
mountpoint -q {folder}/programs || mount -t hostfs -o {programs},ro none {folder}/programs
modprobe nf_conntrack # it sets sysctls of that before it asks for any rule
for version in '' 6; do
    for what in '' -save -restore; do
        ln -sf /usr/sbin/ip${{version}}tables-legacy$what {folder}/path/ip${{version}}tables$what
    done
done
export PATH={folder}/path:$PATH
setsid --fork sh -c 'echo $$ >{folder}/pid; exec "$@"' sh \\
    {folder}/programs/kube-proxy --config={folder}/config.json --v=1 >{log} 2>&1 </dev/null
"""
"""The VMs' kernel has iptables-legacy alone; what kube-proxy executes is called ``iptables``."""

_STOP = """
pid=$(cat {folder}/pid) || exit 0
kill "$pid" && {{ timeout 20 tail --pid="$pid" -s 0.1 -f /dev/null || kill -KILL "$pid"; }}
for program in iptables-legacy ip6tables-legacy; do
    $program-save | grep -v KUBE- | $program-restore -w
done
sysctl -qw net.ipv4.conf.all.route_localnet=0
rm {folder}/pid
"""
"""Its own --cleanup takes the rules away as well, and several times as long on such a kernel."""

_RULES = """
kill -0 $(cat {folder}/pid) || exit 3
iptables-legacy-save -t nat
ip6tables-legacy-save -t nat
"""

_WAY = re.compile(
    rf'--comment "?{NAMESPACE}/([^ ":]+).* --to-destination \[?([^ \]]+?)\]?:\d+$', re.MULTILINE
)


def ways(rules: str) -> set[tuple[str, str]]:
    """The services by name, and their backends' addresses, that rules of a node lead to; `rules` is
    what iptables-save says."""
    return set(_WAY.findall(rules))


class KubeProxy:
    """kube-proxy of `node`, as the cluster of `plane` has it, in mode iptables.

    `settings`: keys of its configuration file that an operator sets.
    """

    def __init__(self, plane: ControlPlane, node: Node, settings: Mapping[str, Any]) -> None:
        if node.kernel != "own":
            raise LabError(
                f"kube-proxy is not run on {node.name}, {node.description}",
                "It would change settings of the host's kernel: take a node of kind `uml`.",
            )
        self.node = node
        self._plane = plane
        self._settings = settings

    def start(self) -> None:
        """Have it begin anew; `wait_for` waits until it has done something."""
        self.stop()
        folder = self._plane.programs.path("kube-proxy").parent
        self.node.exec(["mkdir", "-p", _FOLDER])
        self._write("kubeconfig", self._plane.kubeconfig_of_proxy())
        self._write("config.json", self._configuration())
        self.node.exec(["sh", "-c", _START.format(folder=_FOLDER, programs=folder, log=_LOG)])

    def stop(self) -> None:
        """End it and take its rules away; what it let the kernel remember of connections stays more
        than is usual. Harmless twice."""
        self.node.exec(["sh", "-c", _STOP.format(folder=_FOLDER)])

    def wait_for(self, services: Iterable[Service]) -> None:
        """Until what asks for any of `services` on this node is led to its backend; `LabError` with
        what it said if that takes two minutes, or it ends."""
        wanted = {(item.name, to) for item in services for to in item.backend.addresses}
        try:
            wait_until(
                lambda: wanted <= self._ways(), f"kube-proxy on {self.node.name} to serve", 120
            )
        except LabError as error:
            said = self.node.exec(["tail", "-c", "2000", _LOG], check=False).stdout
            raise LabError(error.message, f"It said: {said}") from None

    def _ways(self) -> set[tuple[str, str]]:
        """Where the rules of this node lead."""
        time.sleep(0.5)  # The VM has one processor, and kube-proxy needs it more.
        done = self.node.exec(["sh", "-c", _RULES.format(folder=_FOLDER)], check=False)
        if done.returncode == 3:
            raise LabError(f"kube-proxy on {self.node.name} has ended")
        return ways(done.stdout)

    def _configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "hostnameOverride": self.node.name,
            "clientConnection": {"kubeconfig": f"{_FOLDER}/kubeconfig"},
            **self._settings,
        }

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        write = ["sh", "-c", f"umask 077; cat >{_FOLDER}/{name}"]
        self.node.exec(write, input=json.dumps(content))
