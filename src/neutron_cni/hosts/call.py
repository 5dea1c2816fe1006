"""Runs a CNI call in this process: input and environment in, answer and exit status out."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from neutron_cni.cni.codec import error_to_json, result_to_json
from neutron_cni.cni.request import parse, version_of
from neutron_cni.cni.versions import NEWEST, version_answer
from neutron_cni.engine.engine import Engine
from neutron_cni.hosts import streams
from neutron_cni.hosts.in_process import local_engine
from neutron_cni.hosts.streams import INPUT_LIMIT
from neutron_cni.light import import_lightly
from neutron_cni.plugins import RECIPES, Kind
from neutron_cni.values.errors import CniError, Code

if TYPE_CHECKING:
    from neutron_cni.hosts.client import Post
    from neutron_cni.hosts.server import Server


class Terminated(BaseException):
    """SIGTERM or SIGINT came. Not an Exception, so that only code that undoes work catches it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The exit status, and what to write to standard output and to standard error."""

    status: int
    stdout: bytes = b""
    stderr: str = ""


_OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_UNREADABLE = Answer(1, error_to_json(CniError(Code.IO_FAILURE, "standard input can't be read")))


def run(
    plugin: str,
    environ: Mapping[str, str],
    stdin: bytes,
    engine: Engine | None = None,
    waited: float = 0.0,
) -> Answer:
    """The answer of `plugin` ("veth-route") to one call; every error becomes an answer.

    `engine` carries the call out; default: one for the kernel and Neutron of this machine.
    `waited`: seconds that the runtime has waited for the answer already.
    """
    notes: list[str] = []
    if environ.get("CNI_COMMAND") == "VERSION":
        return Answer(0, version_answer(stdin).encode())
    try:
        stdout = _answer(plugin, environ, stdin, engine or local_engine(notes.append), waited)
        status = 0
    except CniError as error:
        stdout, status = error_to_json(error, version_of(stdin) or NEWEST), 1
    except Terminated:
        late = CniError(Code.TRY_AGAIN, "ended by a signal; what was begun has been undone")
        stdout, status = error_to_json(late, version_of(stdin) or NEWEST), 128 + signal.SIGTERM
    except Exception as error:
        stdout, status = error_to_json(_told(error, stdin, notes), version_of(stdin) or NEWEST), 1
    return Answer(status, stdout, "".join(f"{note}\n" for note in notes))


def _told(error: Exception, stdin: bytes, notes: list[str]) -> CniError:
    """The answer for what was not foreseen: a limit of this process, or a defect of ours."""
    first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    if isinstance(first, MemoryError) or getattr(first, "errno", None) in _OUT_OF:
        return CniError(
            Code.IO_FAILURE,
            f"the plugin's process may not have what it needs: {first}",
            "raise the limits that the container runtime runs with (LimitNOFILE, memory)",
        )
    from neutron_cni.hosts.trace import record

    return CniError(Code.UNEXPECTED, *record(error, stdin, notes))


def serve(plugin: str, stdin: bytes | None, post: Post | None, waited: float = 0.0) -> NoReturn:
    """Answer the call that this process was started for, and exit.

    `stdin` is None if it can't be read. If there is a `post`, this process also runs the
    calls that other plugin processes hand over, until its own is done (see `server`). `waited`:
    seconds that it has tried in vain to hand its own over.
    """
    # What a library prints goes to standard error, and not into the middle of the answer.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    server = None
    try:
        _have_a_working_folder()
        import_lightly()
        _undo_on_signal()
        if post is not None:
            server = _server(post)
        answer = _UNREADABLE
        if stdin is not None:
            answer = run(plugin, os.environ, stdin, waited=waited)
        _ignore_signals()  # The work is done: no signal may change the answer now.
        if server is not None:
            server.close()
    except Terminated:
        answer = Answer(128 + signal.SIGTERM)
    except BaseException:
        os.dup2(answer_to, 1)  # The caller of this function has an answer for it.
        raise
    notes = answer.stderr.encode(errors="backslashreplace")
    streams.end(answer.status, _line(answer.stdout), notes, answer_to)


def _have_a_working_folder() -> None:
    """Libraries ask where they are, and the folder that the caller was in may be deleted."""
    try:
        Path.cwd()
    except OSError:
        os.chdir("/")


def _answer(
    plugin: str, environ: Mapping[str, str], stdin: bytes, engine: Engine, waited: float
) -> bytes:
    if plugin not in RECIPES:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"called as {plugin[:80]!r}, which is no plugin of neutron-cni",
            f"the executable's name must be one of {', '.join(RECIPES)}",
        )
    if len(stdin) > INPUT_LIMIT:
        raise CniError(Code.IO_FAILURE, f"more than {INPUT_LIMIT} bytes on standard input")
    recipe = RECIPES[plugin]
    with_ipam = recipe.kind is not Kind.CHAINED
    request = parse(plugin, environ, stdin, recipe.schemas(), with_ipam=with_ipam)
    result = engine.handle(request, waited)
    return b"" if result is None else result_to_json(result, request.version)


def _server(post: Post) -> Server:
    """A server that runs the calls of other plugin processes from now on."""
    from neutron_cni.hosts.server import Server

    def answer(plugin: str, environ: Mapping[str, str], stdin: bytes) -> tuple[int, bytes, bytes]:
        found = run(plugin, environ, stdin)
        return found.status, _line(found.stdout), found.stderr.encode(errors="backslashreplace")

    return Server(post, answer)


def _line(stdout: bytes) -> bytes:
    return stdout + b"\n" if stdout else b""


def _undo_on_signal() -> None:
    """Turn the first SIGTERM or SIGINT into `Terminated`; later ones don't disturb the undoing."""

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        _ignore_signals()
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)


def _ignore_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
