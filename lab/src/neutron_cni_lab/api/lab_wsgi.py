"""The WSGI module that gunicorn loads, in Neutron's own environment.

Kept apart from the package: Neutron's environment has no neutron_cni_lab in it.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

# Neutron parses the command line of whatever process imports it.
sys.argv = ["neutron-api"]

_neutron = importlib.import_module("neutron.wsgi.api").application
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
