"""Calling another CNI plugin: IPAM that is not ours (CNI SPEC, section 4: "Plugin Delegation").

The one place of the product that starts a process, as the specification asks for it.
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
"""Bytes that a plugin may answer; a result is a few hundred."""

_BUSY_PAUSE = 0.1
"""Seconds between tries while the executable is being written (ETXTBSY), as upstream waits."""


def find_plugin(plugin: str, path: Iterable[str]) -> str:
    """The executable `plugin` in the folders `path`; raises CniError where there is none."""
    folders = list(path)
    if not folders:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_PATH: must be set and not empty to find the IPAM plugin {plugin}",
        )
    for folder in folders:
        candidate = Path(folder, plugin)
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    raise CniError(
        Code.PLUGIN_NOT_AVAILABLE,
        f"the IPAM plugin {plugin} is not in CNI_PATH",
        f"looked in {', '.join(folders)}",
    )


def delegate_add(plugin: str, path: Iterable[str], call: Invocation, deadline: Deadline) -> Result:
    """The result of ADD; raises CniError: the plugin's own, DELEGATE, or TRY_AGAIN when late."""
    output = _run(plugin, find_plugin(plugin, path), Command.ADD, call, deadline)
    try:
        return result_from_document(decode(output, "the result"), "result")
    except CniError as error:
        raise CniError(
            Code.DELEGATE,
            f"the IPAM plugin {plugin} answered ADD with something else than a CNI result",
            str(error),
        ) from None


def delegate(
    command: Command, plugin: str, path: Iterable[str], call: Invocation, deadline: Deadline
) -> None:
    """Any other command, which answers nothing; raises CniError as `delegate_add` does."""
    _run(plugin, find_plugin(plugin, path), command, call, deadline)


def _run(
    plugin: str, executable: str, command: Command, call: Invocation, deadline: Deadline
) -> bytes:
    """What the plugin printed; raises CniError when it failed, hung or could not be started."""
    variables = {**call.variables, "CNI_COMMAND": command.value}
    # A file as standard input: nothing to feed while reading, so neither side can block the other.
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
        deadline.require(f"starting the IPAM plugin {plugin}")
        try:
            # A session of its own, so that `_end` reaches what the plugin itself started.
            # Its standard error stays ours, as the specification asks.
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
                    Code.DELEGATE, f"the IPAM plugin {executable} does not start", str(error)
                ) from None
            time.sleep(_BUSY_PAUSE)


def _die_with(parent: int) -> None:
    """In the child: be killed when we are. An address that it took then would be nobody's."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _read(
    plugin: str, command: Command, child: subprocess.Popen[bytes], deadline: Deadline
) -> bytes:
    """Standard output to its end."""
    assert child.stdout is not None
    pipe = child.stdout.fileno()
    output = b""
    while True:
        left = deadline.require(f"waiting for {command} of the IPAM plugin {plugin}")
        if not select.select([pipe], [], [], left)[0]:
            continue
        chunk = os.read(pipe, 65536)
        if not chunk:
            return output
        output += chunk
        if len(output) > OUTPUT_LIMIT:
            raise CniError(
                Code.DELEGATE,
                f"the IPAM plugin {plugin} answers {command} with more than {OUTPUT_LIMIT} bytes",
            )


def _wait(plugin: str, command: Command, child: subprocess.Popen[bytes], deadline: Deadline) -> int:
    try:
        return child.wait(deadline.left)
    except subprocess.TimeoutExpired:
        deadline.require(f"waiting for {command} of the IPAM plugin {plugin} to end")
        raise


def _end(child: subprocess.Popen[bytes]) -> None:
    """No process and no descriptor stays behind, whatever happened."""
    if child.returncode is None:
        # Nobody has waited for it, so the group's number can't be another's by now; and what it
        # started may outlive it and hold the pipe.
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _failure(plugin: str, command: Command, status: int, output: bytes) -> CniError:
    """The plugin's own error with its code; DELEGATE where it gave none."""
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
            f"the IPAM plugin {plugin} refuses {command}: {message}",
            details if isinstance(details, str) else "",
        )
    ended = f"with exit status {status}" if status > 0 else f"by signal {-status}"
    return CniError(
        Code.DELEGATE,
        f"the IPAM plugin {plugin} ended {ended} at {command} without a CNI error",
        lacks,
    )
