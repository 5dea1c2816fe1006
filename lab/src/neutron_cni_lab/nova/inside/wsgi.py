"""The WSGI module that gunicorn loads: Nova's API with its services, and Placement beside it.

The order of imports is Nova's: it replaces parts of the standard library first, and sets the log up
after Placement has.
"""

import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# Nova parses the command line of whatever process imports it.
sys.argv = ["nova-api"]
importlib.import_module("nova.monkey_patch").patch(backend="threading")
_placement = importlib.import_module("placement.wsgi.api").application
# Where Nova looks for the class that `compute_driver` names.
importlib.import_module("nova.virt").__path__.append(str(Path(__file__).parent))
_nova = importlib.import_module("nova.wsgi.osapi_compute").application

from neutron_cni_lab.nova import faults  # noqa: E402
from neutron_cni_lab.nova.inside import callers, images  # noqa: E402
from neutron_cni_lab.nova.inside.services import Services  # noqa: E402

_FOLDER = Path(os.environ["OS_NOVA_CONFIG_DIR"])
_ATTACH = re.compile(r".*/servers/[^/]+/os-interface/?")
_DEFAULTS = {
    "HTTP_X_PROJECT_ID": os.environ["LAB_PROJECT_ID"],
    "HTTP_X_USER_ID": os.environ["LAB_USER_ID"],
    "HTTP_X_ROLES": "admin,member,reader",
    "HTTP_X_AUTH_TOKEN": "lab",  # any: without one Nova takes the caller for nobody
}

callers.use()
_services = Services()
_services.start()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Nova's API, for callers without a Keystone; what is beside it has prefixes.

    A caller who names nobody is the lab's admin, and one who sends X-Project-Id and X-Roles is just
    that, as with the lab's Neutron.
    """
    path = environ["PATH_INFO"]
    first = path.split("/")[1]
    if first == "placement":
        environ["SCRIPT_NAME"] = "/placement"
        environ["PATH_INFO"] = path.removeprefix("/placement") or "/"
        return _placement(environ, start_response)  # type: ignore[no-any-return]
    if first == "image":
        return images.application(environ, start_response)
    if path == "/lab/ready":
        return _readiness(start_response)
    for header, value in _DEFAULTS.items():
        environ.setdefault(header, value)
    if environ["REQUEST_METHOD"] == "POST" and _ATTACH.fullmatch(path):
        return _attach(environ, start_response)
    return _nova(environ, start_response)  # type: ignore[no-any-return]


def _attach(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    answer = _nova(environ, start_response)
    if not faults.read(_FOLDER).attach_answer_lost:
        return answer  # type: ignore[no-any-return]
    fault = {"code": 500, "message": "The lab was ordered to lose the answer to this attach."}
    body = json.dumps({"computeFault": fault}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("500 Internal Server Error", headers)
    return [body]


def _readiness(start_response: Callable[..., Any]) -> Iterable[bytes]:
    failed = "500 Internal Server Error" if _services.error else "503 Service Unavailable"
    status = "200 OK" if _services.ready else failed
    start_response(status, [("Content-Type", "text/plain")])
    return [_services.error.encode()]
