"""From clouds.yaml to a session, and what a failed login means.

openstacksdk and keystoneauth raise whatever an odd file makes them trip over, and quote parts of
it. Here all of it becomes Unauthorized or Unreachable, in words that can't hold a secret.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as ks_errors
from keystoneauth1 import session as ks_session
from openstack import exceptions as sdk_errors
from openstack.config import loader
from openstack.config.cloud_region import CloudRegion

from neutron_cni import files
from neutron_cni.openstack import profiles
from neutron_cni.openstack.answers import in_words, keystone_error
from neutron_cni.openstack.concealed import hush, learn, learn_environment
from neutron_cni.openstack.errors import Unauthorized, Unreachable, presentable
from neutron_cni.openstack.kept_login import KeptLogin
from neutron_cni.openstack.patience import Busy, retry_after
from neutron_cni.openstack.reasons import causes, reason
from neutron_cni.openstack.transport import Transport, Trouble
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code

hush()

_REFUSED = "the cloud refused our credentials"
_OF_THE_ENTRY = (
    ks_errors.AuthorizationFailure,
    ks_errors.AuthPluginException,
    ks_errors.CatalogException,
)


@dataclass(frozen=True)
class Entry:
    """A cloud's entry in clouds.yaml, put together by openstacksdk: the session that its services
    share, and the login that is kept, if one is."""

    region: CloudRegion
    session: ks_session.Session
    kept: KeptLogin | None
    cloud: str | None
    file: str | None

    def adapter(self, service_type: str) -> ks_adapter.Adapter:
        """What keystoneauth asks a service by. Raises Unauthorized for odd values."""
        region = self.region
        try:
            return ks_adapter.Adapter(
                self.session,
                service_type=service_type,
                interface=region.get_interface(service_type),
                region_name=region.get_region_name(service_type),
                endpoint_override=region.get_endpoint(service_type),
            )
        except Exception as error:  # as below
            raise _odd(self.cloud, error, self.file) from error


def session_for(
    cloud: str | None,
    file: str | None,
    deadline: Deadline | None = None,
    keep_in: str | None = None,
) -> Entry:
    """The entry of `cloud`, its login kept in `keep_in` if that is given.

    No call is made yet. Without `file` openstacksdk looks in its usual places. Raises Unauthorized;
    Unreachable where the entry's profile is a URL that can't be fetched by the deadline.
    """
    learn_environment(os.environ)
    _require_readable(_usual_places())
    if file:
        learn(_require_clouds(file))
    known = False
    try:
        config = loader.OpenStackConfig(
            config_files=[file] if file else None, session_constructor=_session
        )
        # Also from secure.yaml, and what was found in the usual places; but no defaults: they are
        # no secrets, and one of them is `neutron`.
        learn(_without(config.defaults, config.cloud_config))
        known = True
        with profiles.fetched_by(deadline):
            region = config.get_one(cloud=cloud)
        _require_readable(_certificates(region.config))
        session, kept = region.get_session(), None
        if keep_in is not None:
            kept = KeptLogin(keep_in, f"{cloud}|{file}", region.config, region.get_auth())
            kept.restore()
        return Entry(region, session, kept, cloud, file)
    except Trouble as trouble:
        raise Unreachable(
            Code.TRY_AGAIN,
            f"the profile of cloud {cloud or '(default)'} can't be fetched ({trouble})",
            "is the URL under `profile` in clouds.yaml right, and can this node reach it?",
        ) from trouble
    except Unauthorized:
        raise
    except Exception as error:  # the file's shape decides what; there is no closed set
        if known:
            raise _odd(cloud, error, file) from error
        # Before the secrets are known, a library's words can't be cleared of them.
        raise _odd(cloud, error, file, type(error).__name__) from error


def _odd(cloud: str | None, error: Exception, file: str | None, why: str = "") -> Unauthorized:
    """What `error` says of the entry, or `why`."""
    why = why or first_line(error)
    if not isinstance(error, (sdk_errors.SDKException, ks_errors.ClientException)):
        why = f"a value has the wrong type ({why})"
    return _unusable(cloud or "(default)", why, file)


def _without(defaults: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """Of openstacksdk's content: without the cloud that it makes up where there is none."""
    clouds = content.get("clouds")
    made_up = isinstance(clouds, dict) and clouds.get("defaults") == defaults
    return {"clouds": {}} if made_up else content


def _session(**more: Any) -> ks_session.Session:
    """What openstacksdk makes sessions with: Keystone and services over our transport."""
    return ks_session.Session(session=Transport(), redirect=False, **more)


def login_failure(
    cloud: str, doing: str, error: Exception, answered: bool = False
) -> Unauthorized | Unreachable | Busy:
    """What it means that we could not log in: Unreachable or Busy if trying again may help.

    Only Keystone itself can refuse credentials. `answered`: something answered before it failed,
    so it is an answer that could not be used; else it is what clouds.yaml says.
    """
    if isinstance(error, Trouble):
        if error.response is not None:
            return _answered(cloud, doing, error.response)
        return _away(cloud, doing, str(error))
    refused = next((c for c in causes(error) if isinstance(c, ks_errors.HttpError)), None)
    if refused is not None and refused.response is not None:
        return _answered(cloud, doing, refused.response)
    if any(isinstance(cause, ks_errors.MissingAuthMethods) for cause in causes(error)):
        return _bad(cloud, doing, f"{_REFUSED} (it wants another method besides)")
    # Of what is missing in an entry keystoneauth says so after it has asked for versions.
    ours = type(error) is Exception or isinstance(error, _OF_THE_ENTRY)
    if answered and not ours:
        what = type(error).__name__
        return _away(cloud, doing, f"what it answered can't be used: {what}")
    unsent = isinstance(error, ks_errors.ConnectionError)
    why = reason(error) if unsent else first_line(error)
    return _bad(cloud, doing, f"can't log in to the cloud ({why})")


def _answered(cloud: str, doing: str, response: Any) -> Unauthorized | Unreachable | Busy:
    status, message = response.status_code, keystone_error(response.content)
    if 400 <= status < 500 and status not in (408, 429) and message is not None:
        return _bad(cloud, doing, f"{_REFUSED} ({message} (HTTP {status}))")
    wait = retry_after(response.headers.get("Retry-After"))
    if status == 429:
        limited = _away(cloud, doing, "it limits our rate, 429")
        return Busy(limited, untouched=True, wait=wait)
    said = message or in_words(response.content, quoting=True)
    away = _away(cloud, doing, f"answered {status}: {said}")
    # Whatever happens at a login, the service has not been asked yet.
    return Busy(away, untouched=True, wait=wait) if status in (408, 503) else away


def _away(cloud: str, doing: str, why: str) -> Unreachable:
    return Unreachable(
        Code.TRY_AGAIN,
        f"{doing}: Keystone is unreachable ({why})",
        f"is Keystone of cloud {cloud} up and at its `auth_url`, with nothing else in front of it, "
        "and is there a route from this node to it?",
    )


def _bad(cloud: str, doing: str, what: str) -> Unauthorized:
    return Unauthorized(
        Code.CREDENTIALS,
        f"{doing}: {what}",
        f"check the entry of cloud {cloud} in clouds.yaml; an application credential may have "
        "expired",
    )


def first_line(error: BaseException) -> str:
    """What it says, in one line that can be shown."""
    return (presentable(str(error)) or type(error).__name__)[:300]


def _usual_places() -> list[str]:
    """Where openstacksdk looks."""
    named = (os.environ.get(f"OS_CLIENT_{kind}_FILE", "") for kind in ("CONFIG", "SECURE"))
    usual = (*loader.CONFIG_FILES, *loader.SECURE_FILES, *loader.VENDOR_FILES)
    return [*filter(None, named), *usual]


def _certificates(entry: dict[str, Any]) -> list[str]:
    """The files that TLS reads for a cloud; `cacert` may be a folder, which is no danger."""
    named = (entry.get(key) for key in ("cacert", "cert", "key"))
    return [path for path in named if isinstance(path, str) and not Path(path).is_dir()]


def _require_readable(paths: Iterable[str]) -> None:
    """Raise Unauthorized where a library that opens one of these files would wait for ever."""
    for path in paths:
        try:
            files.require_readable(path)
        except OSError as error:
            raise _unusable("", f"{path}: {error.strerror}", path) from error


def _require_clouds(file: str) -> object:
    """The file's content; raises Unauthorized unless it is YAML with a mapping `clouds`.

    openstacksdk passes over a file that is not YAML with a warning that may quote a password.
    """
    try:
        text = files.read(file).decode()
        content = json.loads(text) if file.endswith("json") else yaml.safe_load(text)
    except OSError as error:
        raise _unusable("", f"{file}: {error.strerror or first_line(error)}", file) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _unusable("", f"{file} is not valid YAML{where}", file) from None
    if not isinstance(content, dict) or not isinstance(content.get("clouds"), dict):
        raise _unusable("", f"{file} has no mapping `clouds`", file)
    return content


def _unusable(cloud: str, why: str, file: str | None) -> Unauthorized:
    return Unauthorized(
        Code.CREDENTIALS,
        f"no usable credentials{f' for cloud {cloud}' if cloud else ''}: {why}",
        f"check {file or '/etc/openstack/clouds.yaml'}, and `cloud` in the ipam section",
    )
