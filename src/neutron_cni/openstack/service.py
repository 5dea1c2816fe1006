"""One service of a cloud: how it is asked, and which answers are its own.

What does not come from the service that we asked is no refusal, whatever its status: a gateway has
not judged anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from neutron_cni.openstack.answers import in_words, is_keystones_401, keystone_error
from neutron_cni.openstack.errors import AnswerLost, CloudError, Unauthorized
from neutron_cni.values.errors import Code


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of the service's own with a status from 400 to 499, to what we were `doing`.

    `kind`: what the service calls it; it and `message` may be empty.
    """

    service: str
    doing: str
    status: int
    kind: str
    message: str

    @property
    def said(self) -> str:
        """Status and kind, for whoever looks the answer up."""
        kind = f" {self.kind}" if self.kind else ""
        return f"{self.service} answered {self.status}{kind}"

    @property
    def why(self) -> str:
        """The sentence for people: what was tried, and what the service said to it."""
        return f"{self.doing}: {self.message or self.said}"


@dataclass(frozen=True, slots=True)
class Service:
    """What differs between the services of a cloud that the one `Client` asks."""

    name: str
    """In sentences: "Neutron"."""
    type: str
    """In the catalog and in keys of clouds.yaml: "network"."""
    base: Callable[[str], str]
    """The URL that paths are added to, of the catalog's endpoint without its last slash."""
    error: Callable[[bytes], tuple[str, str] | None]
    """Kind and message of a body that says no, or None for one that is not the service's."""
    meaning: Callable[[Refusal], CloudError]
    """The error for a refusal, but for 401, which means the same everywhere."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each call."""

    def refusal(
        self, status: int, content: bytes, doing: str, headers: Mapping[str, str] | None = None
    ) -> CloudError:
        """The error for an answer with `status` >= 400 to what we were `doing`.

        AnswerLost where it is not the service that refused.
        """
        own = self.error(content)
        if own is None:
            from_keystone = keystone_error(content) is not None or is_keystones_401(headers or {})
            if status != 401 or not from_keystone:
                return self.foreign(doing, f"{status} with {in_words(content, quoting=True)}")
        if status == 401:
            return Unauthorized(
                Code.CREDENTIALS,
                f"{doing}: the cloud refused our credentials",
                "check the cloud's entry in clouds.yaml; an application credential may have "
                "expired, or have access rules without this call",
            )
        kind, message = own or ("", "")
        return self.meaning(Refusal(self.name, doing, status, kind, message))

    def foreign(self, doing: str, what: str) -> AnswerLost:
        """What was answered is no answer of the service's: for all we know the call was made."""
        return AnswerLost(
            Code.TRY_AGAIN,
            f"{doing}: answered with {what}, which is not as {self.name} answers",
            f"a gateway, proxy or load balancer in front of {self.name}? Check the endpoint "
            "(`openstack catalog list`) and what `curl` of it says from this node",
        )
