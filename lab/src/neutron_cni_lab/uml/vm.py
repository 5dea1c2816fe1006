"""Where the processes and sockets of a VM are on its host, and how commands get into it."""

from pathlib import Path

HERE = Path(__file__).parent
REMOTE = HERE / "remote"

NAME = "vm"
"""What user-mode Linux calls the VM, and its folder in the node's."""

HOST_ADDRESS = "100.64.0.1"
ADDRESS = "100.64.0.2"
"""Of the agent, in each VM: they are on a cable of their own, and no node sees it."""


def pid_file(folder: Path) -> Path:
    """Where the VM writes its process id; `folder` is the node's."""
    return folder / NAME / "pid"


def enter(name: str, namespace: str, pid: int, wait: float = 30) -> list[str]:
    """What runs the command behind it in the VM of node `name` whose main process is `pid`.

    `namespace` is the path of its network namespace on the host. It is tried for `wait` seconds.
    """
    python = ["/usr/bin/python3", "-I", "-S", str(REMOTE), "run", f"--wait={wait}"]
    return [*python, name, namespace, ADDRESS, str(pid), "--"]
