"""The VM's metadata service: what Nova tells a VM about itself (network_data.json).

Format: Nova's user guide, "Metadata"; each of `links` has the MAC of a NIC and, as `vif_id`, the id
of its Neutron port.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from neutron_cni.values.errors import CniError, Code

METADATA_SECONDS = 5.0
"""How long an answer may take: the service is one hop away."""


@dataclass(frozen=True, slots=True)
class MetadataLink:
    """One NIC of the VM as Nova knows it: its MAC in lower case, and the id of its Neutron port."""

    mac: str
    port_id: str


def links_of_this_vm(metadata_url: str) -> list[MetadataLink]:
    """The NICs of the VM that asks; `metadata_url` is the service's, "http://169.254.169.254".

    A link without a port (a bond's, a VLAN's) is left out. Raises CniError PORT_NOT_FOUND when
    there is no usable answer.
    """
    url = f"{metadata_url.rstrip('/')}/openstack/latest/network_data.json"
    try:
        with requests.Session() as session:
            # A link-local address is behind no proxy, whatever the runtime's environment says.
            session.trust_env = False
            answer = session.get(url, timeout=METADATA_SECONDS)
        answer.raise_for_status()
        links: Any = answer.json().get("links") or []
        return [
            MetadataLink(str(link.get("ethernet_mac_address") or "").lower(), str(link["vif_id"]))
            for link in links
            if link.get("vif_id")
        ]
    except (requests.RequestException, ValueError, AttributeError, KeyError, TypeError) as error:
        raise CniError(
            Code.PORT_NOT_FOUND,
            f"the metadata service at {url} gave no usable answer: {error}"[:400],
            "set `portLookup` to `address`, or `portId`",
        ) from error
