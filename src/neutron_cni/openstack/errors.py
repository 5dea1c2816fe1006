"""How calls of a cloud fail, by kind: callers decide by type, people read the sentence."""

from __future__ import annotations

from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.scrub import scrub

LONGEST_SENTENCE = 1000
"""Characters: what a cloud says may have any length."""


class CloudError(CniError):
    """Any failure of a call to the cloud. In one line, and without secrets."""

    def __init__(self, code: Code | int, message: str, details: str = "") -> None:
        super().__init__(code, presentable(message), presentable(details))


class Unreachable(CloudError):
    """The call was never carried out: nothing listens, no route, TLS or DNS failure."""


class AnswerLost(CloudError):
    """A change was sent and its answer did not come: it may or may not have been made."""


class Unauthorized(CloudError):
    """Wrong or expired credentials, or no clouds.yaml to take them from."""


class Forbidden(CloudError):
    """A policy of the cloud does not let this project do that."""


class NotFound(CloudError):
    """The object does not exist, or this project can't see it."""


class StaleRevision(CloudError):
    """Somebody changed the object since we read it (412, or a pair that is there already)."""


class AddressTaken(CloudError):
    """An address asked for by name belongs to another port."""


class SubnetFull(CloudError):
    """No free address is left in the subnet's allocation pools."""


class OverQuota(CloudError):
    """The project's quota is used up."""


class PairLimit(CloudError):
    """The port has as many allowed address pairs as Neutron lets it have: `limit`, if told."""

    def __init__(self, message: str, details: str, limit: int | None) -> None:
        super().__init__(Code.EXHAUSTED, message, details)
        self.limit = limit


class TagLimit(CloudError):
    """The object has as many tags as Neutron lets it have."""


class FixedIpLimit(CloudError):
    """The port has as many fixed IPs as this cloud, an older one, lets it have."""


class NoTags(CloudError):
    """This cloud's Neutron has no tags of ports, which neutron-cni can't do without."""


class ObjectInUse(CloudError):
    """The cloud refuses for now: the object is in use (a floating IP points at the address)."""


class ServerBusy(CloudError):
    """Nova refuses for now: the server is in a state, or at a task, in which no NIC is changed."""


class ServerLocked(CloudError):
    """Somebody locked the server: only an administrator may change it."""


class Refused(CloudError):
    """Any other refusal (4xx)."""


def presentable(text: str) -> str:
    """One line that can be printed, without secrets."""
    # Secrets first: one that is cut, or in two lines, would not be found.
    clean = scrub(text)
    line = "".join(char if char.isprintable() else " " for char in clean).strip()
    return line if len(line) <= LONGEST_SENTENCE else f"{line[:LONGEST_SENTENCE]} ..."
