"""Executes a plugin: a third party's IPAM plugin (CNI SPEC, section 4: "Plugin Delegation"), or one
of a network's chain where we are the runtime (`cni.chain`).

The specification asks for a process here. Apart from this module only `ipam.sweeper` starts one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from neutron_cni.cni.codec import result_from_document
from neutron_cni.cni.document import decode
from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import Invocation
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.result import Result

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1

OUTPUT_LIMIT = 1 << 20
"""The most bytes that a plugin may answer; a result has a few hundred."""

_BUSY_PAUSE = 0.1
"""Seconds between tries to start an executable that is open for writing (ETXTBSY).

Upstream's libcni waits and tries again, too.
"""


def find_plugin(plugin: str, path: Iterable[str]) -> str:
    """The path of the executable `plugin`, from the first folder of `path` that has it.

    Raises CniError INVALID_ENVIRONMENT if `path` (CNI_PATH) is empty, PLUGIN_NOT_AVAILABLE if no
    folder has the executable.
    """
    folders = list(path)
    if not folders:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_PATH: must be set and not empty to find the plugin {plugin}",
        )
    for folder in folders:
        candidate = Path(folder, plugin)
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    raise CniError(
        Code.PLUGIN_NOT_AVAILABLE,
        f"the plugin {plugin} is not in CNI_PATH",
        f"looked in {', '.join(folders)}",
    )


def delegate_add(plugin: str, path: Iterable[str], call: Invocation, deadline: Deadline) -> Result:
    """Execute `plugin` with ADD, with the environment and input of `call`, and return its result.

    Raises CniError: the plugin's own error with its code; DELEGATE if the plugin does not start,
    fails without a CNI error or answers no result; TRY_AGAIN if `deadline` passes; and what
    `find_plugin` raises.
    """
    output = execute(find_plugin(plugin, path), Command.ADD, call, deadline)
    try:
        return result_from_document(decode(output, "the result"), "result")
    except CniError as error:
        raise CniError(
            Code.DELEGATE,
            f"the plugin {plugin} answered ADD with something else than a CNI result",
            str(error),
        ) from None


def delegate(
    command: Command, plugin: str, path: Iterable[str], call: Invocation, deadline: Deadline
) -> None:
    """Execute `plugin` with a command without result; raises CniError as `delegate_add` does."""
    execute(find_plugin(plugin, path), command, call, deadline)


def execute(executable: str, command: Command, call: Invocation, deadline: Deadline) -> bytes:
    """Execute the plugin at the path `executable` and return what it printed.

    Raises CniError as `delegate_add` does. The plugin dies with this process.
    """
    plugin = Path(executable).name
    variables = {**call.variables, "CNI_COMMAND": command.value}
    # Standard input is a file, not a pipe: nothing has to be written to the plugin while its
    # output is read, so neither process can block the other.
    with os.fdopen(os.memfd_create("cni-stdin"), "w+b") as stdin:
        stdin.write(call.stdin)
        stdin.seek(0)
        child = _start(plugin, executable, stdin.fileno(), variables, deadline)
    try:
        output = _read(plugin, command, child, deadline)
        status = _wait(plugin, command, child, deadline)
    finally:
        _end(child)
    if status != 0:
        raise _failure(plugin, command, status, output)
    return output


def _start(
    plugin: str, executable: str, stdin: int, variables: Mapping[str, str], deadline: Deadline
) -> subprocess.Popen[bytes]:
    while True:
        deadline.require(f"starting the plugin {plugin}")
        try:
            # A session of its own, so that `_end` can kill what the plugin itself started.
            # The plugin inherits our standard error, as the specification asks.
            return subprocess.Popen(
                [executable],
                stdin=stdin,
                stdout=subprocess.PIPE,
                env=dict(variables),
                start_new_session=True,
                preexec_fn=partial(_die_with, os.getpid()),
            )
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise CniError(
                    Code.DELEGATE, f"the plugin {executable} does not start", str(error)
                ) from None
            time.sleep(_BUSY_PAUSE)


def _die_with(parent: int) -> None:
    """Runs in the child: have the kernel kill it when `parent`, this process, dies.

    An address that the plugin took after that would belong to no attachment.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _read(
    plugin: str, command: Command, child: subprocess.Popen[bytes], deadline: Deadline
) -> bytes:
    """All that the plugin prints on standard output, until it closes it."""
    assert child.stdout is not None
    pipe = child.stdout.fileno()
    output = b""
    # Not select(), which fails in a process that has more than 1024 files open.
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while True:
        left = deadline.require(f"waiting for {command} of the plugin {plugin}")
        if not poller.poll(left * 1000):
            continue
        chunk = os.read(pipe, 65536)
        if not chunk:
            return output
        output += chunk
        if len(output) > OUTPUT_LIMIT:
            raise CniError(
                Code.DELEGATE,
                f"the plugin {plugin} answers {command} with more than {OUTPUT_LIMIT} bytes",
            )


def _wait(plugin: str, command: Command, child: subprocess.Popen[bytes], deadline: Deadline) -> int:
    try:
        return child.wait(deadline.left)
    except subprocess.TimeoutExpired:
        deadline.require(f"waiting for {command} of the plugin {plugin} to end")
        raise


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the plugin if it still runs, and close the pipe: nothing of the call stays behind."""
    if child.returncode is None:
        # The kernel gives a process id to another process only after the first one was waited
        # for, so this group is still the plugin's. The whole group, because what the plugin
        # started may outlive it and hold the pipe.
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _failure(plugin: str, command: Command, status: int, output: bytes) -> CniError:
    """The plugin's own error with its code; DELEGATE if it printed none."""
    answer: dict[str, Any] = {}
    lacks = "its answer has no code and msg"
    try:
        answer = decode(output, "its answer")
    except CniError as error:
        lacks = str(error)
    code, message, details = (answer.get(key) for key in ("code", "msg", "details"))
    if type(code) is int and 0 < code < 1 << 31 and isinstance(message, str):
        return CniError(
            code,
            f"the plugin {plugin} refuses {command}: {message}",
            details if isinstance(details, str) else "",
        )
    ended = f"with exit status {status}" if status > 0 else f"by signal {-status}"
    return CniError(
        Code.DELEGATE,
        f"the plugin {plugin} ended {ended} at {command} without a CNI error",
        lacks,
    )
