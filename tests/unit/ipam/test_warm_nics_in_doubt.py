"""NICs in reserve when several things happen at once, or somebody changed what was made."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import node, service, sweeper
from neutron_cni.ipam.pools import note_pool
from neutron_cni.ipam.settling import settle_anchor
from neutron_cni.store import State, Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import Mode
from neutron_cni.values.lease import Lease
from tests.fakes import Fault
from tests.fakes.faults import FOREVER
from tests.unit.ipam.test_nova_interface import Site
from tests.unit.ipam.test_warm_nics import (
    WARM,
    Node,
    filled,
    nics,
    ready,
    site,
    sweep,
)

__all__ = ["nics", "site"]

ATTACH = ("POST", "/os-interface")


def due(site: Site) -> dict[str, float]:
    with Store(str(site.host.state_dir)) as store:
        return store.due(time.time())


def test_a_call_that_ends_does_not_give_up_the_nic_that_a_later_call_was_handed(
    site: Site, nics: Node
) -> None:
    filled(site)
    shown, nics.hidden = nics.hidden, set(nics.waiting())
    first, second = object(), object()
    wish = service._wish(site.request("c1", **WARM))
    with Store(str(site.host.state_dir)) as store:
        of_first, _ = service._want(store, wish, first)
        assert of_first.state is State.WANTED
        nics.hidden = shown
        of_second, handed_out = service._want(store, wish, second)
        assert handed_out
        service._give_up(store, of_first, first)
        service._forget_call(of_first, first)
        found = store.get(of_second.id)
        service._forget_call(of_second, second)
    assert found is not None
    assert found.state is State.HELD
    assert of_first.token not in service._LATEST_CALLS


def test_a_sweeper_ends_where_nobody_wants_a_nic_any_more_and_none_is_there(
    site: Site, nics: Node
) -> None:
    request = site.request("c1", **WARM)
    with Store(str(site.host.state_dir)) as store:
        note_pool(store, "net", request.config)
        note_pool(store, "net", site.request("c1").config)
    sweep(site, 2)
    assert due(site) == {}


def test_what_one_network_is_refused_keeps_no_other_from_its_nics(site: Site, nics: Node) -> None:
    with Store(str(site.host.state_dir)) as store:
        note_pool(store, "gone", site.request("c", **WARM, network="no-such-network").config)
    site.add("first", **WARM)
    with pytest.raises(CniError):
        sweep(site)
    assert ready(site) == 2
    assert due(site) == {}


def test_a_pod_that_got_a_nic_from_the_cloud_has_the_reserve_seen_to(
    site: Site, nics: Node
) -> None:
    limit = {**WARM, "maxNICs": 2}
    site.add("c1", **limit)
    with pytest.raises(CniError):
        sweep(site)
    assert (ready(site), due(site)) == (0, {})
    site.add("c2", **{**WARM, "maxNICs": 10})
    sweep(site)
    ports = [r for r in site.scene.reserves() if "warm-" in str(r["tags"])]
    assert len(ports) == 2
    for port in ports:
        site.scene.neutron.cloud.ports[port["id"]]["device_id"] = ""
    nics.hidden = {port["mac_address"] for port in ports}
    site.add("c3", **{**WARM, "maxNICs": 10})
    sweep(site, 3)
    assert site.nics() == 5


def test_none_is_kept_for_a_network_that_is_of_another_mode_now(site: Site, nics: Node) -> None:
    filled(site)
    site.delete("first")
    config = site.request("first", **WARM).config
    from msgspec.structs import replace as changed

    with Store(str(site.host.state_dir)) as store:
        note_pool(store, "net", changed(config, mode=Mode.PORT, warm_nics=0))
    sweep(site, 4)
    assert (ready(site), site.nics()) == (0, 0)
    assert due(site) == {}


def requesting(site: Site, container: str, address: str, **more: Any) -> Lease:
    request = replace(site.request(container, **more), requested=(ip_address(address),))
    return own_ipam().acquire(request)


def test_a_pod_that_asks_for_its_address_again_gets_it_though_its_nic_was_kept(
    site: Site, nics: Node
) -> None:
    site.add("first", **{**WARM, "warmNICs": 1})
    requesting(site, "c1", "10.9.0.60", **{**WARM, "warmNICs": 1})
    site.delete("c1")
    sweep(site, 2)
    with pytest.raises(CniError) as caught:
        requesting(site, "c2", "10.9.0.60", **{**WARM, "warmNICs": 1})
    assert caught.value.code == Code.TRY_AGAIN
    sweep(site)
    lease = requesting(site, "c2", "10.9.0.60", **{**WARM, "warmNICs": 1})
    assert str(lease.addresses[0].address.ip) == "10.9.0.60"


def test_why_the_reserve_can_not_be_filled_is_raised_where_nova_does_not_answer(
    site: Site, nics: Node
) -> None:
    site.add("first", **WARM)
    site.scene.neutron.faults.add(Fault(*ATTACH, times=FOREVER, status=503))
    with pytest.raises(CniError):
        sweep(site)
    site.scene.neutron.faults.clear()


def test_a_nic_handed_out_while_its_port_is_named_again_is_named_after_its_pod(
    site: Site, nics: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neutron_cni.ipam.modes import reserving_port

    filled(site)
    site.add("c1", **WARM)
    sweep(site)
    site.delete("c1")
    site.add("c2", **WARM)
    site.add("c3", **WARM)
    tag_again, given = reserving_port.tag_again, list[Lease]()

    def meanwhile(context: Any, record: Any, port: Any) -> None:
        tag_again(context, record, port)
        if record.state is State.READY and not given:
            given.append(site.add("c4", **WARM))

    monkeypatch.setattr(reserving_port, "tag_again", meanwhile)
    sweep(site, 3)
    (lease,) = given
    token = site.request("c4").attachment.token("net")
    tags = site.scene.port(lease.port_id)["tags"]
    assert [tag for tag in tags if tag.startswith("ncni-token=")] == [f"ncni-token={token}"]


def test_a_port_of_another_cloud_is_named_again_by_who_is_connected_to_that(
    site: Site, nics: Node
) -> None:
    filled(site)
    site.add("c1", **WARM)
    with Store(str(site.host.state_dir)) as store:
        (anchor,) = store.due(time.time())
        with store._transaction():
            store._db.execute("UPDATE lease SET anchor = 'elsewhere|nics' WHERE state = 'held'")
        settle_anchor(store, anchor, Deadline.after(120))
        assert len(store.renamed()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"security_groups": []},
        {"allowed_address_pairs": [{"ip_address": "10.9.0.0/24"}]},
        {"admin_state_up": False},
        {"qos_policy_id": "slow"},
        {"port_security_enabled": False},
    ],
    ids=lambda item: next(iter(item)),
)
def test_a_port_that_somebody_changed_no_other_pod_gets(
    site: Site, nics: Node, change: dict[str, Any]
) -> None:
    site.scene.call("POST", "/security-groups", {"security_group": {"name": "web"}})
    more = {"securityGroups": ["web"]}
    filled(site, **more)
    lease = site.add("c1", **{**WARM, **more})
    site.scene.neutron.cloud.ports[lease.port_id].update(change)
    site.delete("c1")
    sweep(site, 3)
    assert ready(site) == 2
    assert lease.port_id not in {port["id"] for port in site.scene.reserves()}


def test_a_nic_that_a_floating_ip_points_at_no_other_pod_gets(site: Site, nics: Node) -> None:
    filled(site)
    lease = site.add("c1", **WARM)
    pointing = {"port_id": lease.port_id, "fixed_ip_address": str(lease.addresses[0].address.ip)}
    site.scene.neutron.cloud.add("floatingips", {"floating_ip_address": "203.0.113.9", **pointing})
    site.delete("c1")
    sweep(site, 3)
    assert ready(site) == 2
    assert lease.port_id not in {port["id"] for port in site.scene.reserves()}


def test_what_can_not_be_told_of_a_nic_that_came_home_fails_no_other_pod(
    site: Site, nics: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent() -> dict[str, bool]:
        raise CniError(Code.IO_FAILURE, "what is remembered of NICs can't be read", "")

    site.add("c1", **WARM)
    lease = site.add("c2", **WARM)
    site.delete("c1")
    with monkeypatch.context() as patched:
        patched.setattr(node, "waiting_nics", silent)
        site.add("c3", **WARM)
    site.delete("c2")
    site.scene.neutron.faults.add(Fault("GET", f"/ports/{lease.port_id}", times=1, status=403))
    site.add("c4", **WARM)


def test_a_new_reason_to_refill_does_not_wait_for_one_that_was_in_vain(
    site: Site, nics: Node
) -> None:
    filled(site)
    with Store(str(site.host.state_dir)) as store:
        site.add("c1", **WARM)
        now = time.time()
        (anchor,) = store.due(now)
        tried = sweeper._due(store, anchor, now)
        retries = {anchor: sweeper._Retry(time.monotonic() + 300, 300, tried)}
        assert sweeper._ready(store, retries, now) == []
        site.add("c2", **WARM)
        assert sweeper._ready(store, retries, now) == [anchor]
