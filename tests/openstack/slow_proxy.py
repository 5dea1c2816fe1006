"""A proxy in front of Neutron, run on a node: delays answers, or loses those to a change.

Usage: slow_proxy.py LISTEN_PORT TARGET SECONDS LOSE, where LOSE is how many answers to a PUT are
swallowed after Neutron has carried it out.
"""

from __future__ import annotations

import http.client
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_target = urlsplit(sys.argv[2] if len(sys.argv) > 2 else "")
_seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
_to_lose = [int(sys.argv[4]) if len(sys.argv) > 4 else 0]


class Proxy(BaseHTTPRequestHandler):
    """Passes every request on."""

    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        upstream = http.client.HTTPConnection(str(_target.hostname), _target.port, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        time.sleep(_seconds)
        if self.command == "PUT" and _to_lose[0] > 0:
            _to_lose[0] -= 1
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(answer.status)
        for key in ("Content-Type", "X-Openstack-Request-Id"):
            if answer.headers[key]:
                self.send_header(key, str(answer.headers[key]))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Proxy)
    print("ready", flush=True)
    server.serve_forever()
