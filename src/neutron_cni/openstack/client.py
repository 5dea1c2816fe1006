"""HTTP to one cloud: retries by kind, deadlines, and what each failure means.

The session is keystoneauth's, configured by openstacksdk (clouds.yaml, secure.yaml, OS_*). Both
take a fifth of a second to import, so this module is imported only by whoever really calls.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as ks_errors

from neutron_cni.openstack.credentials import causes, first_line, login_failure, session_for
from neutron_cni.openstack.errors import (
    AnswerLost,
    CloudError,
    Unauthorized,
    Unreachable,
    refusal,
)
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code

T = TypeVar("T")

CALL_TIMEOUT = 30.0
"""Seconds one call may take: the slowest seen (a port with 110 addresses) took 4.4."""
CONNECT_TRIES = 3
BUSY_TRIES = 6
LONGEST_WAIT = 10.0
"""Seconds; a `Retry-After` that asks for more is not waited out in full."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer: decoded JSON (None where there is no body) and Neutron's request id."""

    body: Any
    request_id: str = ""


class Client:
    """Calls of one cloud's Networking API, with the retries that are always safe."""

    def __init__(self, session: ks_adapter.Adapter, cloud: str) -> None:
        self._session = session
        self._cloud = cloud
        self._base = ""
        self._extensions: frozenset[str] | None = None

    @classmethod
    def from_clouds_yaml(cls, cloud: str | None, file: str | None) -> Client:
        """The client for `cloud`; raises Unauthorized where clouds.yaml is missing or wrong."""
        return cls(session_for(cloud, file), cloud or "(default)")

    def get(self, path: str, doing: str, deadline: Deadline, **query: Any) -> Any:
        """GET; retried within the deadline whatever failed, for reading changes nothing."""
        return self._call("GET", path, doing, deadline, params=query).body

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
        return self._call(method, path, doing, deadline, json=body, headers=headers).body

    def extensions(self, deadline: Deadline) -> frozenset[str]:
        """Aliases of the cloud's extensions; asked once per process."""
        if self._extensions is None:
            raw = self.get("/extensions", "reading Neutron's extensions", deadline, fields="alias")
            self._extensions = frozenset(item["alias"] for item in raw["extensions"])
        return self._extensions

    def project_id(self, deadline: Deadline) -> str:
        """The project that the credentials are for; empty without authentication."""
        doing = "asking for the project"

        def attempt(timeout: float) -> str:
            return str(self._login(self._session.get_project_id, doing, timeout) or "")

        return self._patiently(attempt, True, doing, deadline)

    def _call(self, method: str, path: str, doing: str, deadline: Deadline, **more: Any) -> Answer:
        def attempt(timeout: float) -> Answer:
            return self._once(method, path, doing, timeout, **more)

        return self._patiently(attempt, method == "GET", doing, deadline)

    def _patiently(
        self, attempt: Callable[[float], T], is_read: bool, doing: str, deadline: Deadline
    ) -> T:
        """What `attempt`, given the seconds it may take, returns when it succeeds."""
        refused_connections = busy = 0
        while True:
            left = deadline.require(doing)
            try:
                return attempt(min(CALL_TIMEOUT, left))
            except Unreachable as error:
                refused_connections += 1
                if refused_connections >= CONNECT_TRIES:
                    raise
                self._pause(0.0, 0.2 * refused_connections, deadline, error)
            except _Busy as error:
                busy += 1
                # 429 was not carried out; another 5xx may have been, so only reads go again.
                if busy >= BUSY_TRIES or not (error.untouched or is_read):
                    raise error.cause from None
                self._pause(error.wait, 0.2 * 2**busy, deadline, error.cause)

    def _once(self, method: str, path: str, doing: str, timeout: float, **more: Any) -> Answer:
        if more.get("json") is None:
            more.pop("json", None)
        url = self._url(path, doing, timeout)
        # Before the request, so that no answer from Keystone is never taken for one from Neutron.
        self._login(self._session.get_token, doing, timeout)
        try:
            response = self._session.request(url, method, raise_exc=False, timeout=timeout, **more)
        except ks_errors.ConnectionError as error:
            if _never_sent(error):
                raise self._unreachable(doing, error) from error
            raise _Busy(self._answer_lost(doing, first_line(error))) from error
        except Exception as error:  # a token that was refused, then a new login that failed
            raise login_failure(self._cloud, doing, error) from error
        if response.status_code >= 400:
            self._raise_refusal(response, doing)
        return self._decoded(response, doing)

    def _decoded(self, response: Any, doing: str) -> Answer:
        try:
            body = response.json() if response.content else None
        except ValueError as error:
            what = f"{response.status_code} with a body that is not JSON, from a proxy?"
            raise _Busy(self._answer_lost(doing, what)) from error
        return Answer(body, response.headers.get("X-Openstack-Request-Id", ""))

    def _raise_refusal(self, response: Any, doing: str) -> None:
        status = response.status_code
        if status == 429:
            error = CloudError(
                Code.TRY_AGAIN, f"{doing}: Neutron limits our rate (429)", "it was tried again"
            )
            raise _Busy(error, untouched=True, wait=_retry_after(response))
        if status >= 500:
            error = AnswerLost(
                Code.TRY_AGAIN,
                f"{doing}: Neutron failed with {status}",
                f"see Neutron's log for request "
                f"{response.headers.get('X-Openstack-Request-Id', '(no id)')}",
            )
            raise _Busy(error, wait=_retry_after(response))
        raise refusal(status, response.content, doing)

    def _url(self, path: str, doing: str, timeout: float) -> str:
        """The absolute URL, so that keystoneauth needs no call for version discovery."""
        if not self._base:
            endpoint = str(self._login(self._session.get_endpoint, doing, timeout) or "")
            if not _is_http(endpoint):
                raise Unauthorized(
                    Code.CREDENTIALS,
                    f"cloud {self._cloud} has no usable endpoint for the network service",
                    "check the region and the catalog (`openstack catalog list`)",
                )
            endpoint = endpoint.rstrip("/")
            self._base = endpoint if endpoint.endswith("/v2.0") else f"{endpoint}/v2.0"
        return f"{self._base}{path}"

    def _login(self, ask: Callable[[], T], doing: str, timeout: float) -> T:
        """What keystoneauth knows from logging in, which it does when it has to."""
        # For its calls of Keystone there is no other way to set one; a login may take two.
        self._session.session.timeout = timeout / 2
        try:
            return ask()
        except Exception as error:  # some plugins raise a bare Exception for what they miss
            raise login_failure(self._cloud, doing, error) from error

    def _unreachable(self, doing: str, error: Exception) -> Unreachable:
        return Unreachable(
            Code.TRY_AGAIN,
            f"{doing}: Neutron is unreachable ({first_line(error)})",
            f"is the API of cloud {self._cloud} up, and is there a route from this node to it?",
        )

    def _answer_lost(self, doing: str, why: str) -> AnswerLost:
        return AnswerLost(
            Code.TRY_AGAIN,
            f"{doing}: no answer from Neutron ({why})",
            f"is the API of cloud {self._cloud} up and reachable from this node?",
        )

    @staticmethod
    def _pause(least: float, more: float, deadline: Deadline, error: CloudError) -> None:
        """Wait `least` seconds, as Neutron asked, and up to `more`; raise `error` if out of time.

        With jitter: many nodes that failed together must not come back together.
        """
        seconds = least + random.uniform(more / 2, more)
        if seconds >= deadline.left:
            raise error from None
        time.sleep(seconds)


class _Busy(Exception):
    """Inside the retry loop: an answer that may be worth waiting for."""

    def __init__(self, cause: CloudError, untouched: bool = False, wait: float = 0.0) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.untouched = untouched
        self.wait = wait


def _never_sent(error: BaseException) -> bool:
    """Whether a connection failed before the request left.

    keystoneauth has one class for "connection refused" and "closed before the answer"; a change
    may have been made in the second case, so what lies beneath is looked at. Of TLS errors only
    that of the certificate is sure to come before the request.
    """
    before_sending = (
        requests.exceptions.ConnectTimeout,
        urllib3.exceptions.NewConnectionError,
        ssl.SSLCertVerificationError,
    )
    return any(isinstance(cause, before_sending) for cause in causes(error))


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _retry_after(response: Any) -> float:
    try:
        return min(LONGEST_WAIT, max(0.0, float(response.headers.get("Retry-After", 0))))
    except ValueError:
        return 0.0
