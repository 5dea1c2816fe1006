"""Calls of one service of a cloud: what each failure means, and whether it may have changed
something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from neutron_cni.openstack.answers import decoded, in_words, request_id
from neutron_cni.openstack.cloud import Cloud
from neutron_cni.openstack.errors import AnswerLost, CloudError, Unauthorized, Unreachable
from neutron_cni.openstack.patience import Busy, patiently, retry_after
from neutron_cni.openstack.reasons import reason
from neutron_cni.openstack.service import Service
from neutron_cni.openstack.transport import Trouble
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered with: JSON, and the id that the service knows the request by, empty
    where it gave none."""

    body: Any
    request: str


class Client:
    """Calls of one service of a cloud, with the retries that are always safe."""

    def __init__(self, cloud: Cloud, service: Service) -> None:
        """Raises Unauthorized where the cloud's entry in clouds.yaml is odd for that service."""
        self.service = service
        self._cloud = cloud
        self._adapter = cloud.adapter(service)
        self._known: dict[str, Any] = {}

    def beside(self, service: Service) -> Client:
        """The client for another service of the same cloud: one login, the same connections."""
        return Client(self._cloud, service)

    def close(self) -> None:
        """End the connections, those of clients beside this one too; what is asked after it opens
        others."""
        self._cloud.close()

    def once(self, what: str, ask: Callable[[], T]) -> T:
        """What `ask` returned the first time: for what stays as it is while a process lives."""
        if what not in self._known:
            self._known[what] = ask()
        found: T = self._known[what]
        return found

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
    ) -> Answer:
        """PUT, POST or DELETE. Raises AnswerLost when only reading can tell what happened.

        With `revision` the change is refused (StaleRevision) when the object has another one.
        """
        headers = {} if revision is None else {"If-Match": f"revision_number={revision}"}
        return self._call(method, path, doing, deadline, json=body, headers=headers)

    def project_id(self, deadline: Deadline) -> str:
        """The project that the credentials are for; empty without authentication."""
        doing = "asking for the project"

        def attempt(timeout: float) -> str:
            self._cloud.begin(timeout)
            return self._cloud.project_id(doing)

        return patiently(attempt, True, doing, deadline)

    def _call(self, method: str, path: str, doing: str, deadline: Deadline, **more: Any) -> Answer:
        def attempt(timeout: float) -> Answer:
            self._cloud.begin(timeout)
            try:
                return self._once(method, path, doing, **more)
            except (CloudError, Busy) as error:
                self._cloud.doubt(error.cause if isinstance(error, Busy) else error)
                raise

        return patiently(attempt, method == "GET", doing, deadline)

    def _once(self, method: str, path: str, doing: str, **more: Any) -> Answer:
        if more.get("json") is None:
            more.pop("json", None)
        url = self._cloud.base(self.service, self._adapter, doing) + path
        response = self._sent(url, method, doing, more)
        # A token that was revoked, or has ended early: nothing was carried out.
        if response.status_code == 401 and self._cloud.renew():
            response = self._sent(url, method, doing, more)
        if response.status_code >= 400:
            self._raise_refusal(response, doing)
        return Answer(self._decoded(response, doing), request_id(response.headers))

    def _sent(self, url: str, method: str, doing: str, more: Mapping[str, Any]) -> Any:
        """The service's answer."""
        headers = {**self.service.headers, **more.get("headers", {}), **self._cloud.token(doing)}
        how = {**more, "headers": headers, "authenticated": False}
        try:
            return self._adapter.request(url, method, raise_exc=False, redirect=False, **how)
        except Trouble as trouble:
            self._raise_trouble(trouble, doing)
        except Exception as error:  # what requests refuses to send at all
            raise self._unsendable(doing, error) from error

    def _decoded(self, response: Any, doing: str) -> Any:
        is_json, body = decoded(response.content)
        if not is_json or not 200 <= response.status_code < 300:
            what = f"{response.status_code} and {in_words(response.content, quoting=True)}"
            raise Busy(self.service.foreign(doing, what))
        return body

    def _raise_trouble(self, trouble: Trouble, doing: str) -> NoReturn:
        name, cloud = self.service.name, self._cloud.name
        if not trouble.sent:
            raise Unreachable(
                Code.TRY_AGAIN,
                f"{doing}: {name} is unreachable ({trouble})",
                f"is the API of cloud {cloud} up, and is there a route from this node to it?",
            ) from trouble
        lost = AnswerLost(
            Code.TRY_AGAIN,
            f"{doing}: no answer from {name} ({trouble})",
            f"is the API of cloud {cloud} up and reachable from this node, and is nothing "
            "else at its address?",
        )
        if trouble.passing:
            raise Busy(lost) from trouble
        raise lost from trouble

    def _raise_refusal(self, response: Any, doing: str) -> None:
        status, headers, name = response.status_code, response.headers, self.service.name
        own, wait = self.service.error(response.content), retry_after(headers.get("Retry-After"))
        if status == 429:
            error = CloudError(
                Code.TRY_AGAIN, f"{doing}: {name} limits our rate (429)", "it was tried again"
            )
            raise Busy(error, untouched=True, wait=wait)
        if status == 407:
            raise Unreachable(
                Code.TRY_AGAIN,
                f"{doing}: {name} is unreachable (the proxy asks for a login, 407)",
                "check http_proxy, https_proxy and no_proxy of the runtime's environment",
            )
        if status >= 500:
            what = f"{status} ({own[1]})" if own and own[1] else status
            lost = AnswerLost(
                Code.TRY_AGAIN,
                f"{doing}: {name} failed with {what}",
                f"see {name}'s log for request {request_id(headers) or '(no id)'}",
            )
            raise Busy(lost, wait=wait)
        refused = self.service.refusal(status, response.content, doing, headers)
        # 408 is a gateway's, and while one has nobody behind it, it finds nothing: both pass. Of a
        # change nobody can say whether it got through before.
        if status == 408 or (status == 404 and own is None):
            raise Busy(refused, wait=wait)
        raise refused

    def _unsendable(self, doing: str, error: Exception) -> Unauthorized:
        return Unauthorized(
            Code.CREDENTIALS,
            f"{doing}: the request can't be sent ({reason(error)})",
            f"check the token and the endpoints of cloud {self._cloud.name} in clouds.yaml",
        )
