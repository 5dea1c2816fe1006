"""The HTTP side of the fake cloud: connections, faults on the way, and control endpoints."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from uuid import uuid4

from tests.fakes import api
from tests.fakes.cloud import Cloud, Json
from tests.fakes.faults import Drop, Fault, Faults, from_json
from tests.fakes.refusals import Refusal

CLOUD = "fake"
FIXED_IPS_CHANGED = "fixed_ips changed"
"""In `FakeNeutron.calls`: PUTs that changed the addresses of a port."""


class FakeNeutron:
    """The server. `cloud` is its state, `faults` what shall go wrong, `calls` what came."""

    def __init__(self, port: int = 0, seed: int = 0) -> None:
        self.cloud = Cloud(seed)
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        """Requests by kind, such as `PUT /ports/{id}`, however they ended."""
        self.token: str | None = None
        """If set, requests without this X-Auth-Token are answered 401."""
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = _Server(port, self)
        self._port = self._server.server_port
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serve, in a thread."""
        self.stopping.clear()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        """No longer listen; connections are refused from now on, open ones are closed."""
        self.stopping.set()
        if self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._thread = None
        self._server.server_close()
        with self._lock:
            for connection in self._connections:
                _close(connection)

    def resume(self) -> None:
        """Listen again on the same port, with the same objects."""
        self._server = _Server(self._port, self)
        self.start()

    def write_clouds_yaml(self, folder: Path | str) -> Path:
        """A clouds.yaml with one cloud, `fake`; returns its path."""
        path = Path(folder) / "clouds.yaml"
        path.write_text(
            f"clouds:\n  {CLOUD}:\n    auth_type: none\n    auth:\n      endpoint: {self.url}\n"
        )
        return path

    def count(self, request: api.Request) -> None:
        """Called for every request that came."""
        with self._lock:
            self.calls[request.kind] += 1

    def serve(self, request: api.Request) -> api.Reply:
        """Status and body of the API's answer."""
        port_id = request.path.removeprefix("/ports/") if request.path.count("/") == 2 else ""
        if request.method == "PUT" and port_id and self.faults.rival_is_due():
            self.cloud.rival_edit(port_id)
        before = self._addresses(port_id)
        try:
            return api.answer(self.cloud, request)
        except Refusal as refusal:
            return refusal.status, refusal.body()
        finally:
            if request.method == "PUT" and self._addresses(port_id) != before:
                with self._lock:
                    self.calls[FIXED_IPS_CHANGED] += 1

    def control(self, method: str, path: str, body: Json) -> api.Reply:
        """The control endpoints; `self.stop()` waits for its caller, so `refuse` has a thread."""
        if path == "/_calls":
            return 200, dict(self.calls)
        if method == "DELETE":
            self.faults.clear()
        elif "rival_every" in body:
            self.faults.rival_every(body["rival_every"])
        elif "overlap" in body:
            self.cloud.overlap.expect(body["overlap"])
        elif "refuse" in body:
            threading.Thread(target=self._refuse, args=(body["refuse"],), daemon=True).start()
        else:
            self.faults.add(from_json(body))
        return 200, {}

    @property
    def connections(self) -> list[socket.socket]:
        """Those that are open."""
        with self._lock:
            return list(self._connections)

    def opened(self, connection: socket.socket) -> None:
        """A connection was accepted."""
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """A connection ended."""
        with self._lock:
            self._connections.discard(connection)

    def _refuse(self, seconds: float) -> None:
        time.sleep(0.05)  # for the answer to get out
        self.stop()
        time.sleep(seconds)
        self.resume()

    def _addresses(self, port_id: str) -> list[Json] | None:
        port = self.cloud.ports.get(port_id)
        return None if port is None else list(port.get("fixed_ips") or ())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, fake: FakeNeutron) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    # Headers and body leave as one segment; in two, Nagle's algorithm costs 40 ms a request.
    wbufsize: ClassVar[int] = -1

    def setup(self) -> None:
        super().setup()
        self.server.fake.opened(self.connection)

    def finish(self) -> None:
        self.server.fake.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: pytest shows what matters."""

    def _handle(self) -> None:
        fake = self.server.fake
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.request_id = f"req-{uuid4()}"
        if self.path.startswith("/_"):
            self._reply(*fake.control(self.command, self.path, json.loads(raw or b"{}")))
            return
        request = api.decode(self.command, self.path, f"{fake.url}/v2.0")
        fake.count(request)
        fault = fake.faults.take(request.method, request.path) or Fault()
        if fault.delay:
            fake.stopping.wait(fault.delay)
        if fault.drop is Drop.BEFORE:
            self._hang_up()
        elif fault.status is not None:
            kind = "application/json" if fault.text.startswith("{") else "text/html"
            self._send(fault.status, fault.text.encode(), kind, fault.retry_after)
        else:
            status, body = self._serve(request, raw)
            if fault.drop is Drop.AFTER:
                self._hang_up()
            else:
                self._reply(status, body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _handle  # noqa: N815

    def _serve(self, request: api.Request, raw: bytes) -> api.Reply:
        fake = self.server.fake
        if fake.token is not None and self.headers.get("X-Auth-Token") != fake.token:
            return 401, json.loads(Fault(status=401).text)
        if not request.path and request.method == "GET":
            return 200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}
        try:
            revision = api.revision_of(self.headers.get("If-Match"))
            body = _decoded(raw)
        except Refusal as refusal:
            return refusal.status, refusal.body()
        return fake.serve(replace(request, body=body, revision=revision, id=self.request_id))

    def _reply(self, status: int, body: Json | None) -> None:
        data = b"" if status in (202, 204) else json.dumps(body).encode()
        self._send(status, data, "application/json")

    def _send(self, status: int, body: bytes, kind: str, retry_after: str | None = None) -> None:
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.send_header("X-Openstack-Request-Id", self.request_id)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:
            self.close_connection = True  # the client gave up waiting

    def _hang_up(self) -> None:
        self.close_connection = True
        _close(self.connection)


def _close(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _decoded(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        raise Refusal(400, "HTTPBadRequest", "Body contains invalid data") from None
