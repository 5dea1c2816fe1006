"""Asks Docker, or podman's service, about a container: `docker inspect` asks the same.

Both speak the Docker Engine API over a socket, so one client does for both, and their programs need
not be installed. The version is the server's own: old ones refuse newer versions, and new ones
those that are too old.
"""

from __future__ import annotations

import re
import socket
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from neutron_cni.cli.by_hand.containers import Container
from neutron_cni.cni.document import convert, decode
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

SOCKETS = {"docker": "/run/docker.sock", "podman": "/run/podman/podman.sock"}
"""Where the services listen, by the name of the runtime."""

_LIMIT = 4 << 20
"""The most bytes of an answer; that about a container has some ten thousand."""
_VERSION = re.compile(r"[0-9]+\.[0-9]+")
_SHARED = "container:"


class _State(msgspec.Struct, rename="pascal"):
    pid: int = 0


class _HostConfig(msgspec.Struct, rename="pascal"):
    network_mode: str = ""


class _Answer(msgspec.Struct, rename="pascal"):
    id: str
    name: str = ""
    state: _State = msgspec.field(default_factory=_State)
    host_config: _HostConfig = msgspec.field(default_factory=_HostConfig)


def find(runtime: str, path: str, word: str, deadline: Deadline) -> Container | None:
    """The container that the service at the socket `path` means by `word`, None if none.

    None also where no service is. Raises CniError: IO_FAILURE where it can't be asked or does not
    understand, INVALID_ENVIRONMENT for what it says of the word, such as an ambiguous id.
    """
    if not Path(path).is_socket():
        return None
    try:
        version, _, _ = _get(path, "/_ping", deadline)
        prefix = f"/v{version}" if version else ""
        _, status, body = _get(path, f"{prefix}/containers/{quote(word, safe='')}/json", deadline)
    except (FileNotFoundError, ConnectionRefusedError):
        return None  # The socket outlives the service.
    except (OSError, HTTPException) as error:
        raise CniError(
            Code.IO_FAILURE,
            f"{runtime} can't be asked at {path}: {error or type(error).__name__}",
            "is its service well? a pid or a namespace needs no runtime",
        ) from error
    if status == 404:
        return None
    if status != 200:
        said = _message(body)
        raise CniError(Code.INVALID_ENVIRONMENT, f"{runtime} says of {word!r:.80}: {said}")
    return _container(runtime, decode(body, f"what {runtime} answers"))


def _get(path: str, target: str, deadline: Deadline) -> tuple[str, int, bytes]:
    """(the API's version or empty, status, body). Raises OSError, HTTPException, CniError."""
    connection = _Connection(path, deadline)
    try:
        connection.request("GET", target, headers={"Host": "localhost", "Connection": "close"})
        response = connection.getresponse()
        version = response.getheader("Api-Version") or ""
        body = _whole(response, connection, deadline)
    finally:
        connection.close()
    return (version if _VERSION.fullmatch(version) else ""), response.status, body


def _whole(response: HTTPResponse, connection: _Connection, deadline: Deadline) -> bytes:
    body = b""
    while piece := response.read1(65536):
        body += piece
        if len(body) > _LIMIT:
            raise HTTPException(f"an answer of more than {_LIMIT >> 20} MiB")
        connection.wait_at_most(deadline.require("waiting for the container runtime"))
    return body


class _Connection(HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: str, deadline: Deadline) -> None:
        super().__init__("localhost", timeout=deadline.require("asking the container runtime"))
        self._path = path

    def connect(self) -> None:
        """Connect to the socket. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def wait_at_most(self, seconds: float) -> None:
        """From now on wait so long for a piece of the answer."""
        if self.sock is not None:
            self.sock.settimeout(seconds)


def _container(runtime: str, document: dict[str, Any]) -> Container:
    answer = convert(document, _Answer, f"{runtime}'s answer")
    mode = answer.host_config.network_mode
    return Container(
        runtime=runtime,
        id=answer.id,
        names=(answer.name.lstrip("/"),) if answer.name else (),
        pid=answer.state.pid,
        sandbox=mode.removeprefix(_SHARED) if mode.startswith(_SHARED) else "",
    )


def _message(body: bytes) -> str:
    try:
        return str(decode(body, "it").get("message", "an error"))[:300]
    except CniError:
        return "an error without words"
