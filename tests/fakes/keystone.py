"""A Keystone that knows one application credential and one password: enough to log in, or not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

REGION = "RegionOne"
SECRET = "a-valid-secret"
SILENCE = 20.0
"""Seconds that a silent one says nothing."""
BODIES = {
    status: json.dumps({"error": {"code": status, "message": message, "title": title}})
    for status, title, message in (
        (400, "Bad Request", "Expecting to find domain in project."),
        (401, "Unauthorized", "The request you have made requires authentication."),
        (403, "Forbidden", "You are not authorized to perform the requested action."),
        (404, "Not Found", "Could not find project: p."),
    )
}
"""What Keystone itself says; whatever else is a gateway's."""


class FakeKeystone:
    """`POST /v3/auth/tokens` answers 401 unless the secret or password is `SECRET`."""

    def __init__(self, network_url: str | None) -> None:
        self.network_url = network_url
        """In the catalog; None for a catalog without a network service."""
        self.compute_url: str | None = None
        """In the catalog beside it, if set."""
        self.status: int | None = None
        """If set, every request is answered with it."""
        self.body: str | None = None
        """If set, what every request is answered with; else Keystone's words, or a gateway's."""
        self.headers: dict[str, str] = {}
        """Besides, in every answer."""
        self.times = -1
        """How many requests `status` and `body` are for; negative: all."""
        self.silent = False
        """If set, requests are answered after `SILENCE` only."""
        self.lifetime = timedelta(hours=1)
        """Of a token; keystoneauth replaces one that has less than two minutes left."""
        self.logins = 0
        self.calls = 0
        """All requests that came, logins among them."""
        self.token = uuid4().hex
        self.stopping = Event()
        self._server = _Server(self)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Where it listens, without `/v3`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def login(self, body: Any) -> tuple[int, Any]:
        """The answer to POST /v3/auth/tokens."""
        self.logins += 1
        identity = body["auth"]["identity"]
        given = identity.get("application_credential") or identity["password"]["user"]
        if SECRET not in (given.get("secret"), given.get("password")):
            message = "The request you have made requires authentication."
            return 401, {"error": {"code": 401, "message": message, "title": "Unauthorized"}}
        return 201, {"token": self._token()}

    def _token(self) -> dict[str, Any]:
        endpoint = {"interface": "public", "region": REGION, "region_id": REGION, "id": "e"}
        urls = {"network": self.network_url, "compute": self.compute_url}
        catalog = [
            {"type": kind, "name": kind, "id": kind, "endpoints": [endpoint | {"url": url}]}
            for kind, url in urls.items()
            if url
        ]
        now = datetime.now(UTC)
        return {
            "methods": ["application_credential"],
            "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "5" * 32, "name": "p", "domain": {"id": "default", "name": "D"}},
            "roles": [{"id": "r", "name": "member"}],
            "issued_at": now.isoformat(),
            "expires_at": (now + self.lifetime).isoformat(),
            "catalog": catalog,
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, fake: FakeKeystone) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Version discovery."""
        self.server.fake.calls += 1
        version = {"id": "v3.14", "status": "stable", "links": [self._self_link()]}
        path = self.path.rstrip("/")
        if path == "/v3":
            self._send(200, {"version": version})
        else:
            self._send(300, {"versions": {"values": [version]}})

    def do_POST(self) -> None:
        """Log in."""
        self.server.fake.calls += 1
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._send(*self.server.fake.login(json.loads(raw)))

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: pytest shows what matters."""

    def _self_link(self) -> dict[str, str]:
        return {"rel": "self", "href": f"{self.server.fake.url}/v3/"}

    def _send(self, status: int, body: Any) -> None:
        fake = self.server.fake
        # Our client's CALL_TIMEOUT is longer: if it waited that long, it would get the answer.
        if fake.silent and fake.stopping.wait(SILENCE):
            return
        data = json.dumps(body).encode()
        if fake.times and (fake.status is not None or fake.body is not None):
            fake.times -= 1
            status = fake.status or status
            data = (
                BODIES.get(status, "<html></html>") if fake.body is None else fake.body
            ).encode()
        self.send_response(status)
        for name, value in fake.headers.items():
            self.send_header(name, value)
        self.send_header("X-Subject-Token", fake.token)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
