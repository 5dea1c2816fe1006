"""Every mode keeps the contract: MODES is the table of them, a page each, documented."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from inspect import getmembers, isfunction, signature
from ipaddress import ip_address
from pathlib import Path

import pytest

from neutron_cni.ipam.modes import MODES, address_pairs, fixed_ips, nova_interface, port
from neutron_cni.ipam.modes.contract import Finding, Kind, Known, ModePage, Seen, Strays
from neutron_cni.openstack.types import Port
from neutron_cni.store import PortAddress, Record, State, Wish
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.ipam_config import IpamConfig, Mode

ROOT = Path(__file__).parents[3]
PAGES: tuple[ModePage, ...] = (address_pairs, fixed_ips, nova_interface, port)
"""For the type checker, which compares each with the contract."""

ADDRESS = ip_address("10.0.0.9")
ALL_MODES = pytest.mark.parametrize("mode", list(Mode))


@ALL_MODES
def test_every_mode_has_a_page_that_keeps_the_contract(mode: Mode) -> None:
    page = MODES[mode].page
    assert page in PAGES
    for name, wanted in getmembers(ModePage, isfunction):
        if not name.startswith("_"):
            have = signature(getattr(page, name)).parameters
            assert ["self", *have] == list(signature(wanted).parameters), name


@ALL_MODES
def test_every_mode_has_a_page_in_the_documentation(mode: Mode) -> None:
    pages = (ROOT / "docs" / "how-to").glob("*.md")
    assert any(f'"mode": "{mode.value}"' in page.read_text() for page in pages)


def test_who_is_served_by_another_imports_nothing_of_any_mode() -> None:
    program = (
        "import sys, neutron_cni.ipam.service\n"
        "print([m for m in sys.modules if m.startswith(('pyroute2', 'openstack', 'keystoneauth1',"
        " 'requests', 'neutron_cni.ipam.modes.', 'neutron_cni.openstack'))])"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert said.stdout.decode().strip() == "[]"


def lease(mode: Mode, port_id: str) -> Record:
    return Record(
        network="net",
        attachment=Attachment("c1", "eth0"),
        token="0123abcd",
        nonce="nonce",
        pod=PodRef("default", "web"),
        config=IpamConfig(type="cni-ipam-neutron", mode=mode),
        anchor="anchor",
        state=State.HELD,
        wish=Wish(),
        owner="",
        addresses=(PortAddress(ADDRESS, "subnet", port_id),),
        id=7,
    )


def neutron_port(
    port_id: str,
    *addresses: str,
    tags: tuple[str, ...] = (),
    pairs: tuple[dict[str, str], ...] = (),
    dns_name: str = "",
) -> Port:
    return Port.from_json(
        {
            "id": port_id,
            "network_id": "n",
            "mac_address": "fa:16:3e:00:00:01",
            "fixed_ips": [{"subnet_id": "subnet", "ip_address": item} for item in addresses],
            "allowed_address_pairs": list(pairs),
            "tags": list(tags),
            "device_id": f"nonce-of-{port_id}",
            "dns_name": dns_name,
        }
    )


def told(findings: list[Finding]) -> list[tuple[str, bool]]:
    return [(finding.for_check, finding.mendable) for finding in findings]


def test_fixed_ips_wants_the_address_on_the_vms_port_by_its_own_doing() -> None:
    held = [lease(Mode.FIXED_IPS, "vm")]
    assert fixed_ips.judge(held, Seen("abc123", neutron_port("vm", "10.0.0.9"))) == []
    assert told(fixed_ips.judge(held, Seen("abc123", neutron_port("vm")))) == [
        ("10.0.0.9 is not among the fixed IPs of the VM's port vm", True)
    ]
    assert told(fixed_ips.judge(held, Seen("abc123", neutron_port("new", "10.0.0.9")))) == [
        ("10.0.0.9 is on the VM's port new, but not for a pod", False)
    ]


def test_nova_interface_wants_a_server_that_has_the_port() -> None:
    held = [lease(Mode.NOVA_INTERFACE, "n1")]
    attached = neutron_port("n1", "10.0.0.9")
    assert nova_interface.judge(held, Seen("abc123", None, {"n1": attached})) == []
    detached = replace(attached, device_id="")
    assert told(nova_interface.judge(held, Seen("abc123", None, {"n1": detached}))) == [
        ("no server has port n1 any more: somebody detached the pod's NIC", False)
    ]
    assert told(nova_interface.judge(held, Seen("abc123"))) == [
        ("port n1, which reserved 10.0.0.9, has it no more", False)
    ]


def test_address_pairs_wants_a_pair_and_a_port_that_reserves() -> None:
    held = [lease(Mode.ADDRESS_PAIRS, "r1")]
    reserving = {"r1": neutron_port("r1", "10.0.0.9")}
    pair = {"ip_address": "10.0.0.9"}
    good = neutron_port("vm", pairs=(pair,))
    assert address_pairs.judge(held, Seen("abc123", good, reserving)) == []
    assert told(address_pairs.judge(held, Seen("abc123", neutron_port("vm")))) == [
        ("10.0.0.9 is not among the allowed address pairs of the VM's port vm", True),
        ("port r1, which reserved 10.0.0.9, has it no more", True),
    ]


def test_a_pair_with_a_routers_mac_lets_no_pod_through() -> None:
    pair = {"ip_address": "10.0.0.9", "mac_address": "00:00:5e:00:01:07"}
    seen = Seen("abc123", neutron_port("vm", pairs=(pair,)), {"r1": neutron_port("r1", "10.0.0.9")})
    (finding,) = address_pairs.judge([lease(Mode.ADDRESS_PAIRS, "r1")], seen)
    assert finding.mendable


@pytest.mark.parametrize("mode", [Mode.PORT, Mode.ADDRESS_PAIRS])
def test_a_port_with_our_mark_belongs_to_a_lease_or_is_unknown(mode: Mode) -> None:
    page = MODES[mode].page
    strays = Strays("abc123", reserving=(neutron_port("r1", "10.0.0.9"),))
    known = Known(frozenset({"nonce-of-r1"}), frozenset())
    assert page.judge_strays(known, strays) == []
    (finding,) = page.judge_strays(Known(frozenset(), frozenset()), strays)
    assert (finding.kind, finding.addresses) == (Kind.UNKNOWN, (ADDRESS,))


def test_a_claim_is_ours_and_known_or_named() -> None:
    tags = ("ncni:10.0.0.9:abc123:0123abcd", "ncni:10.0.0.8:fff999:0123abcd", "theirs")
    strays = Strays("abc123", neutron_port("vm", "10.0.0.9", "10.0.0.8", tags=tags))
    foreign, unknown = fixed_ips.judge_strays(Known(frozenset(), frozenset()), strays)
    assert (foreign.kind, foreign.address) == (Kind.FOREIGN, "10.0.0.8")
    assert (unknown.kind, unknown.address) == (Kind.UNKNOWN, "10.0.0.9")
    assert len(fixed_ips.judge_strays(Known(frozenset(), frozenset({ADDRESS})), strays)) == 1


CLAIM = "ncni:10.0.0.9:abc123:0123abcd"


@pytest.mark.parametrize(
    ("tags", "dns_name", "is_said"),
    [((CLAIM,), "node1", True), ((CLAIM,), "", False), ((), "node1", False)],
    ids=["pods and a name", "no name", "no pods"],
)
def test_an_operator_is_told_that_the_nodes_dns_name_is_its_pods_too(
    tags: tuple[str, ...], dns_name: str, is_said: bool
) -> None:
    vm_port = neutron_port("vm", "10.0.0.9", tags=tags, dns_name=dns_name)
    said = fixed_ips.remarks(Strays("abc123", vm_port))
    assert bool(said) == is_said
    assert all("openstack port set --dns-name '' vm" in line for line in said)
