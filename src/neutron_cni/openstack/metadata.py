"""The VM's metadata service: what Nova tells a VM about itself.

Format: Nova's user guide, "Metadata". In network_data.json each of `links` has the MAC of a NIC
and, as `vif_id`, the id of its Neutron port; in meta_data.json `uuid` is the server's id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from neutron_cni.openstack.answers import decoded, in_words
from neutron_cni.openstack.errors import presentable
from neutron_cni.openstack.shapes import Odd, an_id, mapping, objects, text, understood
from neutron_cni.openstack.transport import Transport, Trouble, bare
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

T = TypeVar("T")

METADATA_SECONDS = 5.0
"""How long an answer may take: the service is one hop away."""

_ADVICE = "set `portLookup` to `address`, or `portId`"


@dataclass(frozen=True, slots=True)
class MetadataLink:
    """One NIC of the VM as Nova knows it: its MAC in lower case, and the id of its Neutron port."""

    mac: str
    port_id: str


class NoMetadata(CniError):
    """The service gave no answer that anybody could use: PORT_NOT_FOUND where it has no data for
    this VM, TRY_AGAIN where that may pass."""


def links_of_this_vm(metadata_url: str, deadline: Deadline | None = None) -> list[MetadataLink]:
    """The NICs of the VM that asks; `metadata_url` is the service's, "http://169.254.169.254".

    A link without a port (a bond's, a VLAN's) is left out. Raises NoMetadata, within
    METADATA_SECONDS and by the deadline.
    """
    return _told(metadata_url, "network_data.json", _links, deadline)


def server_id_of_this_vm(metadata_url: str, deadline: Deadline | None = None) -> str:
    """The id of the Nova server that the asking VM is. Raises NoMetadata as `links_of_this_vm`."""
    return _told(metadata_url, "meta_data.json", _server_id, deadline)


def _told(
    metadata_url: str, document: str, read: Callable[[object], T], deadline: Deadline | None
) -> T:
    url = f"{metadata_url.rstrip('/')}/openstack/latest/{document}"
    status, content = _fetched(url, METADATA_SECONDS if deadline is None else deadline.left)
    if status == 404:
        raise _no_answer(url, "it knows nothing of this VM (404)", Code.PORT_NOT_FOUND)
    if status != 200:
        raise _no_answer(url, f"answered {status}: {in_words(content, quoting=True)}")
    is_json, body = decoded(content)
    if not is_json:
        raise _no_answer(url, in_words(content, quoting=True))
    try:
        return understood(lambda: read(body))
    except Odd as error:
        raise _no_answer(url, f"JSON of another shape ({error})") from error


def _fetched(url: str, seconds: float) -> tuple[int, bytes]:
    with Transport() as session:
        # A link-local address is behind no proxy, whatever the runtime's environment says.
        session.trust_env = False
        session.end = time.monotonic() + min(METADATA_SECONDS, seconds)
        try:
            answer = session.get(url)
        except Trouble as trouble:
            raise _no_answer(url, str(trouble)) from trouble
        except (requests.RequestException, ValueError) as error:
            what = f"`metadataUrl` can't be used ({type(error).__name__})"
            raise _no_answer(url, what, Code.PORT_NOT_FOUND) from error
        return answer.status_code, answer.content


def _links(body: object) -> list[MetadataLink]:
    links = objects(mapping(body, "it"), "links", optional=True)
    return [link for raw in links if (link := _link(raw)) is not None]


def _link(raw: Mapping[str, Any]) -> MetadataLink | None:
    port_id = text(raw, "vif_id")
    return MetadataLink(text(raw, "ethernet_mac_address").lower(), port_id) if port_id else None


def _server_id(body: object) -> str:
    return an_id(mapping(body, "it"), "uuid")


def _no_answer(url: str, why: str, code: Code = Code.TRY_AGAIN) -> NoMetadata:
    said = presentable(f"the metadata service at {bare(url)} gave no usable answer: {why}")
    return NoMetadata(code, said, _ADVICE)
