"""The one way to any service of a cloud: bounded in time and size, and no redirect is followed.

keystoneauth logs in by itself and reads Keystone's answers by itself, and openstacksdk fetches
profiles of vendors. All of them go through a `Transport`, so that what holds for one answer holds
for all: it is here, whole, by `end`, or there is a `Trouble` that says why in our own words.
Libraries' words are not passed on: they quote URLs and headers, whole or in parts.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from keystoneauth1.session import TCPKeepAliveAdapter

from neutron_cni.openstack.names import addresses_of
from neutron_cni.openstack.reasons import reason

LARGEST_ANSWER = 64 << 20
"""Bytes. Ten thousand ports with two hundred addresses each are half of it."""
_REDIRECTS = (301, 302, 303, 305, 307, 308)
_CHUNK = 1 << 16
_ENOUGH = 3.0
"""Seconds after which an address that has not answered is not waited for if there is another one:
the kernel has asked it twice by then."""
_SECONDS = 30.0
"""For a request that nobody gave an end."""


class Trouble(Exception):
    """There is no answer that anybody could use; `why` is a sentence without secrets.

    No exception of requests: keystoneauth would take it for one of its own and go on guessing.
    """

    def __init__(
        self,
        url: str,
        why: str,
        sent: bool,
        passing: bool = True,
        response: requests.Response | None = None,
    ) -> None:
        super().__init__(f"{place(url)}: {why}" if place(url) else why)
        self.url = url
        self.sent = sent
        """Whether the request may have been carried out."""
        self.passing = passing
        """Whether asking again soon may help."""
        self.response = response
        """The answer, where there is one that keystoneauth must not see."""


class Transport(requests.Session):
    """A session of requests for one call at a time; all that it asks has to end by `end`."""

    def __init__(self) -> None:
        super().__init__()
        self.end: float | None = None
        """On the monotonic clock."""
        self.sent = False
        """Whether something of the latest request left this machine."""
        self.logging_in = False
        """Whether keystoneauth asks for itself, and of Keystone."""
        self.answers = 0
        wire = _Wire(self)
        for scheme in list(self.adapters):
            self.mount(scheme, wire)

    @property
    def left(self) -> float:
        """Seconds until `end`."""
        return _SECONDS if self.end is None else self.end - time.monotonic()


class _Wire(TCPKeepAliveAdapter):  # type: ignore[misc]  # it comes without types
    """Sends and reads for a Transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        super().__init__()

    def close(self) -> None:
        """End the connections; urllib3 waits until nobody has an answer of theirs any more."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  # it is no mapping to iterate over
                manager.pools[key].close()
        super().close()

    def get_connection_with_tls_context(self, *args: Any, **more: Any) -> Any:
        """The pool, made to open connections that keep the time.

        Called before a connection is looked for, by requests 2.32.2 and later.
        """
        self._transport.sent = False
        pool = super().get_connection_with_tls_context(*args, **more)
        if not issubclass(pool.ConnectionCls, _Kept):
            pool.ConnectionCls = type(
                "Kept", (_Kept, pool.ConnectionCls), {"transport": self._transport}
            )
        return pool

    def send(self, request: Any, **more: Any) -> requests.Response:
        """The answer with its whole body. Raises Trouble."""
        transport, url = self._transport, str(request.url)
        transport.sent = True  # Until we know better: what may have been sent is never said not to.
        if transport.left <= 0:
            raise Trouble(url, "timed out", sent=False)
        more |= {"stream": True, "timeout": urllib3.Timeout(total=transport.left)}
        try:
            response: requests.Response = super().send(request, **more)
            body = b"".join(_limited(response, url))
        except Trouble:
            raise
        except Exception as error:  # also what is none of requests': a header that is not Latin-1
            raise Trouble(url, reason(error), transport.sent) from error
        # As requests itself does it; from here on nobody reads from the connection.
        response._content, response._content_consumed = body, True
        transport.answers += 1
        _refuse_redirect(response, url)
        if response.status_code == 401 and transport.logging_in and request.method == "GET":
            # keystoneauth would log in to ask again, but holds the lock of its login: for ever.
            raise Trouble(url, "answered 401", sent=True, response=response)
        return response


def _limited(response: requests.Response, url: str) -> Iterator[bytes]:
    size = 0
    for chunk in response.iter_content(_CHUNK):
        size += len(chunk)
        if size > LARGEST_ANSWER:
            response.close()
            raise Trouble(
                url, f"an answer of more than {LARGEST_ANSWER >> 20} MiB", sent=True, passing=False
            )
        yield chunk


def _refuse_redirect(response: requests.Response, url: str) -> None:
    """Whoever we were sent to would get our token, or our password."""
    status = response.status_code
    # Not 300: so Keystone answers when it is asked for its versions.
    if status in _REDIRECTS:
        to = bare(response.headers.get("Location", ""))
        where = f"to {to}" if to else "to nowhere"
        why = f"answered {status}, a redirect {where}, and redirects are not followed"
        raise Trouble(url, why, sent=True, passing=False)


class _Kept:
    """Over a connection of urllib3: notes when a request leaves, and ends all that it waits for."""

    transport: Transport
    sock: Any
    port: int
    _dns_host: str

    def _new_conn(self) -> Any:
        """A connection to the first address that takes one. Raises what urllib3 and names do.

        urllib3 gets one address after another in the name's place: so it has nothing to look up,
        and a dead address takes only its share of the time, not all that is left.
        """
        name, trouble = self._dns_host, None
        try:
            addresses = addresses_of(name, self.port, self.transport.left)
            for number, address in enumerate(addresses, 1):
                self._dns_host = address
                self.timeout = _share(self.transport.left, len(addresses) - number)
                try:
                    return super()._new_conn()  # type: ignore[misc]
                except urllib3.exceptions.HTTPError as error:
                    trouble = error
        finally:
            self._dns_host = name
        raise trouble or OSError("a name without an address")

    def endheaders(self, *args: Any, **more: Any) -> None:
        """The first part of a request that is sent; before it the connection has to be there."""
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        if self.transport.left <= 0:
            raise TimeoutError("timed out")  # Unsent: nobody will wait for the answer.
        self.transport.sent = True
        super().endheaders(*args, **more)  # type: ignore[misc]

    def response_class(self, sock: socket.socket, *args: Any, **more: Any) -> HTTPResponse:
        """What http.client makes an answer with."""
        answer = HTTPResponse(sock, *args, **more)
        answer.fp.close()
        end = time.monotonic() + max(0.0, self.transport.left)
        answer.fp = io.BufferedReader(_UntilEnd(sock, end))
        return answer


def _share(left: float, further: int) -> float:
    """Seconds for one address of a name that has `further` ones to try after it."""
    if further:
        left = min(_ENOUGH, left / (further + 1))
    return max(0.001, left)


class _UntilEnd(io.RawIOBase):
    """What a socket receives, until the time is over: the socket's own limit is for each piece."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        super().__init__()
        self._socket = sock
        self._file = sock.makefile("rb", buffering=0)
        self._end = end

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Some bytes; raises TimeoutError."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        """Let the socket go."""
        if not self.closed:
            self._file.close()
        super().close()


def place(url: str) -> str:
    """Host and port of a URL, empty where it has none."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.hostname}{port}" if parts.hostname else ""
    except ValueError:
        return ""


def bare(url: str) -> str:
    """A URL without users, passwords, queries and fragments."""
    try:
        parts = urlsplit(url)
        host = f"{parts.scheme}://{place(url)}" if place(url) else ""
        return f"{host}{parts.path}"[:200]
    except ValueError:
        return ""
