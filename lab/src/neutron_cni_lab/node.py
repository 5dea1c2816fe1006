"""A running node, as tests and `lab exec` use it: commands in it."""

import enum
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import live_pid
from neutron_cni_lab.uml import vm

Kernel = Literal["shared", "own"]
"""Whose kernel a node has: the host's, which it shares, or its own, as a user-mode Linux VM."""


class NodeKind(enum.StrEnum):
    """What a node runs on, as users write it."""

    NAMESPACE = "namespace"
    UML = "uml"

    @property
    def kernel(self) -> Kernel:
        """Whose kernel that is."""
        return "own" if self is NodeKind.UML else "shared"


_LOOK = """
cat /proc/uptime /proc/loadavg
ps -eo pid,ppid,stat,etimes,rss,wchan:24,args | tail -60
cat /proc/locks; free -m; sleep 1; cat /proc/uptime
"""
_LOOK_SECONDS = 30.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Node:
    """One node of a lab that is up; get it from `Lab.node`."""

    def __init__(self, places: Places, name: str, facts: Mapping[str, Any]) -> None:
        self._places = places
        self.name = name
        self.facts = facts
        """``kind`` (``vm``, ``bare``, and what is no node: ``internet``, ``router``), ``network``,
        ``addresses`` (``["10.10.0.5/20"]``), ``mtu``, and for a VM ``port_id`` and ``mac``, with
        ``server_id`` where Nova knows it; ``kernel`` is ``own`` where it is not the host's."""

    @property
    def namespace(self) -> str:
        """The name of its network namespace on the host."""
        return self._places.namespace(self.name)

    @property
    def address(self) -> str:
        """Its first address, without the prefix."""
        return str(self.facts["addresses"][0]).partition("/")[0]

    @property
    def port_id(self) -> str:
        """The Neutron port of its NIC; a bare node has none (`LabError`)."""
        if self.facts["kind"] != "vm":
            raise LabError(f"{self.name} is no VM: it has no Neutron port")
        return str(self.facts["port_id"])

    @property
    def server_id(self) -> str:
        """The Nova server that it is; `LabError` in a lab without a Nova, and for a bare node."""
        if "server_id" not in self.facts:
            hint = "`neutron-cni lab up --nova` gives the lab one."
            raise LabError(f"{self.name} is no server: its lab has no Nova, or it is no VM", hint)
        return str(self.facts["server_id"])

    @property
    def pid(self) -> int | None:
        """The process that keeps its namespaces or is its kernel, None when the node is down."""
        folder = self._places.node(self.name)
        pid_file = vm.pid_file(folder) if self.kernel == "own" else folder / "pid"
        return live_pid(pid_file, self._places.folder)

    @property
    def kernel(self) -> Kernel:
        """Whose kernel it runs on."""
        return "own" if self.facts.get("kernel") == "own" else "shared"

    @property
    def description(self) -> str:
        """What it is, in words."""
        own = " with a kernel of its own" if self.kernel == "own" else ""
        return f"a {self.facts['kind']} on network {self.facts['network']}{own}"

    @property
    def is_stopped(self) -> bool:
        """Whether it is down because `Lab.stop_node` was told to."""
        return bool(self.facts.get("stopped"))

    @property
    def home(self) -> str:
        """Root's home on the node; not /root, which is the host's, with its clouds.yaml."""
        return "/" if self.facts["kind"] in ("internet", "router") else "/var/lib/root"

    def command(
        self, words: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> tuple[list[str], dict[str, str]]:
        """The command and environment that run `words` in the node, from the host."""
        if not words:
            raise LabError("no command given", "Write it after `--`.")
        environment = {
            "PATH": f"{Path(sys.prefix) / 'bin'}:{_PATH}",
            "HOME": self.home,
            "CNI_PATH": "/opt/cni/bin",
            "LANG": "C.UTF-8",
            **self._places.environment,
            **(env or {}),
        }
        return [*self._enter(), *map(str, words)], environment

    def _situation(self) -> str:
        """What runs in the node, where it waits in the kernel, who has which file's lock, how much
        memory is free, whether the kernel's clock still wakes who sleeps."""
        with suppress(LabError, OSError):
            seen = subprocess.Popen(
                [*self._enter(), "sh", "-c", _LOOK], stdout=subprocess.PIPE, text=True
            )
            try:
                return seen.communicate(timeout=_LOOK_SECONDS)[0]
            except subprocess.TimeoutExpired:
                seen.kill()
                return f"{seen.communicate()[0]}\nand then nothing for {_LOOK_SECONDS:.0f} s"
        return "and its processes can't be seen"

    def exec(
        self,
        words: Sequence[str | Path],
        *,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float | None = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run `words` in the node as root, in ``/``; `LabError` with its output if it fails."""
        command, environment = self.command(words, env)
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd="/"
        ) as process:
            try:
                out, error = process.communicate("" if input is None else input, timeout=timeout)
            except subprocess.TimeoutExpired as late:
                # While it runs, or nobody would ever know what it waits for.
                seen = self._situation()
                process.kill()
                said = f"on {self.name}: `{_shown(words)}` took {timeout} s"
                raise LabError(said, seen) from late
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(command, process.returncode, out, error)
        if check and done.returncode:
            raise LabError(
                f"on {self.name}: `{_shown(words)}` ended with status {done.returncode}: "
                f"{(done.stderr + done.stdout).strip()[-3000:]}"
            )
        return done

    def popen(
        self, words: Sequence[str | Path], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start `words` in the node; `options` are `subprocess.Popen`'s."""
        command, environment = self.command(words, env)
        return subprocess.Popen(command, env=environment, **{"cwd": "/", **options})

    def become(self, words: Sequence[str | Path]) -> None:
        """Replace this process by `words` in the node: status, stdin, stdout and signals kept."""
        command, environment = self.command(words)
        if "TERM" in os.environ:
            environment["TERM"] = os.environ["TERM"]
        sys.stdout.flush()
        os.chdir("/")
        os.execvpe(command[0], command, environment)

    def _enter(self) -> list[str]:
        if self.facts["kind"] == "internet":
            return ["nsenter", f"--net=/run/netns/{self.namespace}", "--"]
        if self.facts["kind"] == "router":
            return list(self.facts["enter"])
        pid = self.pid
        if pid is None:
            if self.is_stopped:
                hint = f"`neutron-cni lab node start {self.name}` starts it."
                raise LabError(f"node {self.name} is stopped", hint)
            raise LabError(f"node {self.name} is down", "`neutron-cni lab up` repairs it.")
        if self.kernel == "own":
            return vm.enter(self.name, f"/run/netns/{self.namespace}", pid)
        return ["nsenter", f"--target={pid}", "--mount", "--uts", "--net", "--"]


def _shown(words: Sequence[str | Path]) -> str:
    return " ".join(map(str, words))
