"""The WSGI module that gunicorn loads, in Neutron's own environment.

Kept apart from the package: Neutron's environment has no neutron_cni_lab in it.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any


def _application() -> Any:
    """Neutron's own, which another module makes in older releases.

    Those are made for green threads, and run in gunicorn's real ones as well: only their own
    programs have the standard library changed for it.
    """
    if find_spec("neutron.server.api_eventlet"):
        server = importlib.import_module("neutron.server")
        made = server.boot_server(
            importlib.import_module("neutron.server.api_eventlet").eventlet_api_server
        )
        _tell_plugins()
        return made
    return importlib.import_module("neutron.wsgi.api").application


def _tell_plugins() -> None:
    """Tell them that this process is the one that serves, as an old ``neutron-server`` does: the
    driver for OVN connects to its databases then."""
    callbacks = "neutron_lib.callbacks"
    registry = importlib.import_module(f"{callbacks}.registry")
    events = importlib.import_module(f"{callbacks}.events")
    worker = importlib.import_module("neutron.wsgi").WorkerService(None, None, "off")
    ends = signal.getsignal(signal.SIGTERM)
    for event in (events.BEFORE_SPAWN, events.AFTER_INIT):
        registry.publish("process", event, worker.start)
    signal.signal(signal.SIGTERM, ends)  # by which gunicorn ends, and which the driver takes


# Neutron parses the command line of whatever process imports it.
sys.argv = ["neutron-api"]

_neutron = _application()
_context = importlib.import_module("neutron_lib.context")
_DEFAULTS = {
    "HTTP_X_PROJECT_ID": os.environ["LAB_PROJECT_ID"],
    "HTTP_X_USER_ID": os.environ["LAB_USER_ID"],
    "HTTP_X_ROLES": "admin,member,reader",
}

# The first request would load the rules, without a lock (neutron_lib.policy._engine.init and
# neutron.policy.init, Neutron 29): those that come meanwhile find none, are taken for nobody's
# admin, and are answered 404 for what exists and 200 with empty lists.
_context.Context.from_environ(dict(_DEFAULTS))
importlib.import_module("neutron.policy").init()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Neutron's API, for callers without a Keystone.

    ``auth_strategy = noauth`` makes everyone an admin of project ``fake_project_id``, or of no
    project at all when the caller names one (neutron.auth.NoauthFakeProjectId, Neutron 29). Here a
    caller who names nothing is the lab's admin, and one who sends X-Project-Id and X-Roles is just
    that, so a plain clouds.yaml is enough and policy can still be tested.
    """
    for header, value in _DEFAULTS.items():
        environ.setdefault(header, value)
    environ["neutron.context"] = _context.Context.from_environ(environ)
    return _neutron(environ, start_response)  # type: ignore[no-any-return]
