"""HTTP to one cloud: what each failure means, and whether it may have changed something.

The session is keystoneauth's, configured by openstacksdk (clouds.yaml, secure.yaml, OS_*). Both
take a fifth of a second to import, so this module is imported only by whoever really calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from keystoneauth1 import adapter as ks_adapter

from neutron_cni.openstack.answers import decoded, in_words, neutron_error, request_id
from neutron_cni.openstack.calls import understand
from neutron_cni.openstack.concealed import learn_token
from neutron_cni.openstack.credentials import login_failure, session_for
from neutron_cni.openstack.errors import (
    AnswerLost,
    CloudError,
    Unauthorized,
    Unreachable,
    foreign,
    refusal,
)
from neutron_cni.openstack.kept_login import KeptLogin
from neutron_cni.openstack.patience import Busy, patiently, retry_after
from neutron_cni.openstack.reasons import reason
from neutron_cni.openstack.shapes import a_text, mapping, objects
from neutron_cni.openstack.transport import Transport, Trouble
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code

T = TypeVar("T")


class Client:
    """Calls of one cloud's Networking API, with the retries that are always safe."""

    def __init__(
        self, session: ks_adapter.Adapter, cloud: str, kept: KeptLogin | None = None
    ) -> None:
        self._session = session
        self._kept = kept
        self._wire: Transport = session.session.session
        self._cloud = cloud
        self._base = ""
        self._extensions: frozenset[str] | None = None

    @classmethod
    def from_clouds_yaml(
        cls,
        cloud: str | None,
        file: str | None,
        deadline: Deadline | None = None,
        keep_in: str | None = None,
    ) -> Client:
        """The client for `cloud`; raises Unauthorized where clouds.yaml is missing or wrong.

        The deadline is for a vendor's profile that has to be fetched. `keep_in`: a folder in which
        a login is kept for later calls, also those of other processes.
        """
        session, kept = session_for(cloud, file, deadline, keep_in)
        return cls(session, cloud or "(default)", kept)

    def close(self) -> None:
        """End the connections; what is asked after it opens others."""
        self._wire.close()

    def get(self, path: str, doing: str, deadline: Deadline, **query: Any) -> Any:
        """GET; retried within the deadline whatever failed, for reading changes nothing."""
        return self._call("GET", path, doing, deadline, params=query)

    def change(
        self,
        method: str,
        path: str,
        doing: str,
        deadline: Deadline,
        body: Any = None,
        revision: int | None = None,
    ) -> Any:
        """PUT, POST or DELETE. Raises AnswerLost when only reading can tell what happened.

        With `revision` the change is refused (StaleRevision) when the object has another one.
        """
        headers = {} if revision is None else {"If-Match": f"revision_number={revision}"}
        return self._call(method, path, doing, deadline, json=body, headers=headers)

    def extensions(self, deadline: Deadline) -> frozenset[str]:
        """Aliases of the cloud's extensions; asked once per process."""
        if self._extensions is None:
            doing = "reading Neutron's extensions"
            raw = self.get("/extensions", doing, deadline, fields="alias")
            self._extensions = understand(doing, partial(_aliases, raw))
        return self._extensions

    def project_id(self, deadline: Deadline) -> str:
        """The project that the credentials are for; empty without authentication."""
        doing = "asking for the project"

        def attempt(timeout: float) -> str:
            self._begin(timeout)
            project = str(self._login(self._session.get_project_id, doing) or "")
            self._keep()
            return project

        return patiently(attempt, True, doing, deadline)

    def _call(self, method: str, path: str, doing: str, deadline: Deadline, **more: Any) -> Any:
        def attempt(timeout: float) -> Any:
            self._begin(timeout)
            try:
                return self._once(method, path, doing, **more)
            except (CloudError, Busy) as error:
                self._doubt(error.cause if isinstance(error, Busy) else error)
                raise

        return patiently(attempt, method == "GET", doing, deadline)

    def _begin(self, timeout: float) -> None:
        """From now on, whatever is asked of Keystone and Neutron has to end in time."""
        self._wire.end = time.monotonic() + timeout

    def _once(self, method: str, path: str, doing: str, **more: Any) -> Any:
        if more.get("json") is None:
            more.pop("json", None)
        url = self._url(path, doing)
        response = self._sent(url, method, doing, more)
        # A token that was revoked, or has ended early: nothing was carried out.
        if response.status_code == 401 and self._session.invalidate():
            self._forget()
            response = self._sent(url, method, doing, more)
        if response.status_code >= 400:
            self._raise_refusal(response, doing)
        return self._decoded(response, doing)

    def _sent(self, url: str, method: str, doing: str, more: Mapping[str, Any]) -> Any:
        """Neutron's answer, after a login if there is none.

        keystoneauth never logs in during the request: no answer of Keystone's is taken for one of
        Neutron's, and it would wait for its own lock for ever where Keystone's is a 401.
        """
        token = self._login(self._session.session.get_auth_headers, doing) or {}
        learn_token(token.get("X-Auth-Token"))
        self._keep()
        how = {**more, "headers": {**more.get("headers", {}), **token}, "authenticated": False}
        try:
            return self._session.request(url, method, raise_exc=False, redirect=False, **how)
        except Trouble as trouble:
            self._raise_trouble(trouble, doing)
        except Exception as error:  # what requests refuses to send at all
            raise self._unsendable(doing, error) from error

    def _decoded(self, response: Any, doing: str) -> Any:
        is_json, body = decoded(response.content)
        if not is_json or not 200 <= response.status_code < 300:
            what = f"{response.status_code} and {in_words(response.content, quoting=True)}"
            raise Busy(foreign(doing, what))
        return body

    def _raise_trouble(self, trouble: Trouble, doing: str) -> NoReturn:
        if not trouble.sent:
            raise Unreachable(
                Code.TRY_AGAIN,
                f"{doing}: Neutron is unreachable ({trouble})",
                f"is the API of cloud {self._cloud} up, and is there a route from this node to it?",
            ) from trouble
        lost = AnswerLost(
            Code.TRY_AGAIN,
            f"{doing}: no answer from Neutron ({trouble})",
            f"is the API of cloud {self._cloud} up and reachable from this node, and is nothing "
            "else at its address?",
        )
        if trouble.passing:
            raise Busy(lost) from trouble
        raise lost from trouble

    def _raise_refusal(self, response: Any, doing: str) -> None:
        status, headers = response.status_code, response.headers
        wait = retry_after(headers.get("Retry-After"))
        if status == 429:
            error = CloudError(
                Code.TRY_AGAIN, f"{doing}: Neutron limits our rate (429)", "it was tried again"
            )
            raise Busy(error, untouched=True, wait=wait)
        if status == 407:
            raise Unreachable(
                Code.TRY_AGAIN,
                f"{doing}: Neutron is unreachable (the proxy asks for a login, 407)",
                "check http_proxy, https_proxy and no_proxy of the runtime's environment",
            )
        if status >= 500:
            lost = AnswerLost(
                Code.TRY_AGAIN,
                f"{doing}: Neutron failed with {status}",
                f"see Neutron's log for request {request_id(headers)}",
            )
            raise Busy(lost, wait=wait)
        refused = refusal(status, response.content, doing, headers)
        # 408 is a gateway's, and while one has nobody behind it, it finds nothing: both pass. Of a
        # change nobody can say whether it got through before.
        if status == 408 or (status == 404 and neutron_error(response.content) is None):
            raise Busy(refused, wait=wait)
        raise refused

    def _url(self, path: str, doing: str) -> str:
        """The absolute URL, so that keystoneauth needs no call for version discovery."""
        if not self._base:
            endpoint = str(self._login(self._session.get_endpoint, doing) or "")
            if not _is_http(endpoint):
                raise Unauthorized(
                    Code.CREDENTIALS,
                    f"cloud {self._cloud} has no usable endpoint for the network service",
                    "check the region and the catalog (`openstack catalog list`)",
                )
            endpoint = endpoint.rstrip("/")
            self._base = endpoint if endpoint.endswith("/v2.0") else f"{endpoint}/v2.0"
        return f"{self._base}{path}"

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
            raise login_failure(self._cloud, doing, error, answered) from error
        finally:
            self._wire.logging_in = False

    def _keep(self) -> None:
        if self._kept is not None:
            self._kept.save()

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept.forget()

    def _doubt(self, error: CloudError) -> None:
        """After what may come of an old login: the next attempt begins with a new one."""
        suspicious = error.code in (Code.TRY_AGAIN, Code.CREDENTIALS)
        if suspicious and self._kept is not None and self._kept.doubt():
            self._base = ""

    def _unsendable(self, doing: str, error: Exception) -> Unauthorized:
        return Unauthorized(
            Code.CREDENTIALS,
            f"{doing}: the request can't be sent ({reason(error)})",
            f"check the token and the endpoints of cloud {self._cloud} in clouds.yaml",
        )


def _aliases(raw: object) -> frozenset[str]:
    listed = objects(mapping(raw, "it"), "extensions")
    return frozenset(a_text(item.get("alias"), "alias") for item in listed)


def _is_http(url: str) -> bool:
    """Whether paths can be added to it: a query or fragment would swallow them."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    good = parts.scheme in ("http", "https") and bool(parts.hostname)
    return good and not parts.query and not parts.fragment
