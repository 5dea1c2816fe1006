"""``fake_keystone.py PORT``: a Keystone that knows nobody. Run on a node, by its own interpreter.

Version discovery as keystoneauth needs it, and 401 to every request for a token, word for word as
Keystone 30 says it. Prints a line when it listens.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    """GET: the version document; POST: 401."""

    def do_GET(self) -> None:
        """Version discovery."""
        link = {"rel": "self", "href": f"http://{self.headers['Host']}/v3/"}
        self._answer(200, {"version": {"id": "v3.14", "status": "stable", "links": [link]}})

    def do_POST(self) -> None:
        """POST /v3/auth/tokens."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        message = "The request you have made requires authentication."
        error = {"code": 401, "message": message, "title": "Unauthorized"}
        self._answer(401, {"error": error})

    def log_message(self, *words: object) -> None:
        """Nothing."""

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print("ready", flush=True)
    server.serve_forever()
