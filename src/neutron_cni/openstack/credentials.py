"""From clouds.yaml to a session, and what a failed login means.

openstacksdk and keystoneauth raise whatever an odd file makes them trip over, and quote parts of
it. Here all of it becomes Unauthorized or Unreachable, in words that can't hold a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as ks_errors
from openstack import exceptions as sdk_errors
from openstack.config import loader

from neutron_cni.openstack.errors import Unauthorized, Unreachable
from neutron_cni.values.errors import CniError, Code


def session_for(cloud: str | None, file: str | None) -> ks_adapter.Adapter:
    """A session with the Networking API of `cloud`; no call is made yet.

    Without `file` openstacksdk looks in its usual places. Raises Unauthorized.
    """
    if file:
        _require_clouds(file)
    try:
        config = loader.OpenStackConfig(config_files=[file] if file else None)
        region = config.get_one(cloud=cloud)
        return ks_adapter.Adapter(
            region.get_session(),
            service_type="network",
            interface=region.get_interface("network"),
            region_name=region.get_region_name("network"),
            endpoint_override=region.get_endpoint("network"),
        )
    except Exception as error:  # the file's shape decides what; there is no closed set
        known = isinstance(error, (sdk_errors.SDKException, ks_errors.ClientException))
        why = first_line(error) if known else f"a value has the wrong type ({first_line(error)})"
        raise _unusable(cloud or "(default)", why, file) from error


def login_failure(cloud: str, doing: str, error: Exception) -> CniError:
    """What it means that we could not log in: Unreachable if trying again may help."""
    for cause in causes(error):
        if isinstance(cause, (ks_errors.ConnectionError, ks_errors.HttpServerError)):
            return Unreachable(
                Code.TRY_AGAIN,
                f"{doing}: Keystone is unreachable ({first_line(cause)})",
                f"is Keystone of cloud {cloud} up, and is there a route from this node to it?",
            )
    refused = any(isinstance(cause, ks_errors.HTTPClientError) for cause in causes(error))
    what = "the cloud refused our credentials" if refused else "can't log in to the cloud"
    return Unauthorized(
        Code.CREDENTIALS,
        f"{doing}: {what} ({first_line(error)})",
        f"check the entry of cloud {cloud} in clouds.yaml; an application credential may have "
        "expired",
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what lies beneath it, outermost first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def first_line(error: BaseException) -> str:
    """What it says, in one line, without user names and passwords of URLs."""
    line = (str(error) or type(error).__name__).strip().splitlines()[0]
    return re.sub(r"//[^/\s@]*@", "//", line)[:300]


def _require_clouds(file: str) -> None:
    """Raises Unauthorized unless the file can be read and is YAML with a mapping `clouds`.

    openstacksdk passes over a file that is not YAML with a warning that may quote a password.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
        content = json.loads(text) if file.endswith("json") else yaml.safe_load(text)
    except OSError as error:
        raise _unusable("", f"{file}: {error.strerror or first_line(error)}", file) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _unusable("", f"{file} is not valid YAML{where}", file) from None
    if not isinstance(content, dict) or not isinstance(content.get("clouds"), dict):
        raise _unusable("", f"{file} has no mapping `clouds`", file)


def _unusable(cloud: str, why: str, file: str | None) -> Unauthorized:
    return Unauthorized(
        Code.CREDENTIALS,
        f"no usable credentials{f' for cloud {cloud}' if cloud else ''}: {why}",
        f"check {file or '/etc/openstack/clouds.yaml'}, and `cloud` in the ipam section",
    )
