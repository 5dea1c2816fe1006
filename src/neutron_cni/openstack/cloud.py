"""One cloud: the session and the login that its services share.

The session is keystoneauth's, configured by openstacksdk (clouds.yaml, secure.yaml, OS_*). Both
take a fifth of a second to import, so this module is imported only by whoever really calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urlsplit

from keystoneauth1 import adapter as ks_adapter

from neutron_cni.openstack.concealed import learn_token
from neutron_cni.openstack.credentials import Entry, login_failure, session_for
from neutron_cni.openstack.errors import CloudError, Unauthorized
from neutron_cni.openstack.service import Service
from neutron_cni.openstack.transport import Transport
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code

T = TypeVar("T")


class Cloud:
    """A cloud as clouds.yaml names it: its services have one login, and one `Transport` that
    makes one call at a time."""

    def __init__(self, entry: Entry, name: str) -> None:
        self._entry = entry
        self.name = name
        self._session = entry.session
        self._kept = entry.kept
        self._wire: Transport = entry.session.session
        self._bases: dict[str, str] = {}

    @classmethod
    def from_clouds_yaml(
        cls,
        cloud: str | None,
        file: str | None,
        deadline: Deadline | None = None,
        keep_in: str | None = None,
    ) -> Cloud:
        """The one named `cloud`; raises Unauthorized where clouds.yaml is missing or wrong.

        The deadline is for a vendor's profile that has to be fetched. `keep_in`: a folder in which
        a login is kept for later calls, also those of other processes.
        """
        return cls(session_for(cloud, file, deadline, keep_in), cloud or "(default)")

    def close(self) -> None:
        """End the connections; what is asked after it opens others."""
        self._wire.close()

    def adapter(self, service: Service) -> ks_adapter.Adapter:
        """What keystoneauth asks the service by. Raises Unauthorized for an odd entry."""
        return self._entry.adapter(service.type)

    def begin(self, timeout: float) -> None:
        """From now on, whatever is asked of Keystone and the services has to end in time."""
        self._wire.end = time.monotonic() + timeout

    def project_id(self, doing: str) -> str:
        """The project that the credentials are for; empty without authentication."""
        project = str(self._login(self._session.get_project_id, doing) or "")
        self._keep()
        return project

    def base(self, service: Service, adapter: ks_adapter.Adapter, doing: str) -> str:
        """The absolute URL, so that keystoneauth needs no call for version discovery."""
        if service.type not in self._bases:
            endpoint = str(self._login(adapter.get_endpoint, doing) or "")
            if not _is_http(endpoint):
                raise Unauthorized(
                    Code.CREDENTIALS,
                    f"cloud {self.name} has no usable endpoint for the {service.type} service",
                    "check the region and the catalog (`openstack catalog list`)",
                )
            self._bases[service.type] = service.base(endpoint.rstrip("/"))
        return self._bases[service.type]

    def token(self, doing: str) -> Mapping[str, str]:
        """The header that a call is made with, after a login if there is none; empty without one.

        keystoneauth never logs in during the request: no answer of Keystone's is taken for one of
        the service's, and it would wait for its own lock for ever where Keystone's is a 401.
        """
        headers = self._login(self._session.get_auth_headers, doing) or {}
        learn_token(headers.get("X-Auth-Token"))
        self._keep()
        return headers

    def renew(self) -> bool:
        """The token was refused: the next one is another. False where there can be no other."""
        if not self._session.invalidate():
            return False
        self._forget()
        return True

    def doubt(self, error: CloudError) -> None:
        """After what may come of an old login: the next attempt begins with a new one."""
        suspicious = error.code in (Code.TRY_AGAIN, Code.CREDENTIALS)
        if suspicious and self._kept is not None and self._kept.doubt():
            self._bases.clear()

    def _login(self, ask: Callable[[], T], doing: str) -> T:
        """What keystoneauth knows from logging in, which it does when it has to."""
        self._wire.logging_in = True
        try:
            return ask()
        except Exception as error:  # some plugins raise a bare Exception for what they miss
            with suppress(Exception):  # or it would try an odd token again, without asking
                self._session.invalidate()
            self._forget()
            answered = self._wire.answers > 0
            raise login_failure(self.name, doing, error, answered) from error
        finally:
            self._wire.logging_in = False

    def _keep(self) -> None:
        if self._kept is not None:
            self._kept.save()

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept.forget()


def _is_http(url: str) -> bool:
    """Whether paths can be added to it: a query or fragment would swallow them."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    good = parts.scheme in ("http", "https") and bool(parts.hostname)
    return good and not parts.query and not parts.fragment
