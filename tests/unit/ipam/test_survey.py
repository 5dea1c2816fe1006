"""What `neutron-cni leases` and `gc` print: the survey of a node, and what is mended of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from neutron_cni.ipam import node, service, sweeper
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.audit import compare, mend
from neutron_cni.ipam.audit.configured import configured
from neutron_cni.ipam.audit.mend import mend as mend_all
from neutron_cni.ipam.audit.survey import Action, groups, survey, work_to_do
from neutron_cni.ipam.modes.contract import Kind
from neutron_cni.ipam.settling import settle_anchor
from neutron_cni.store import Record, State, Store
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.reliability.scene import Host, Scene, addresses_on, pairs_on


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A cloud."""
    with Scene(tmp_path / "scene") as made:
        yield made


@pytest.fixture
def host(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A node whose IPAM runs in this process; no namespace of it has any address."""
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(mend, "remove_stale_entries", lambda: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    return Host(scene, "node")


def held(config: IpamConfig, container: str) -> Record:
    """The lease of a container, whose namespace does not exist."""
    attachment = Attachment(container, "eth0", f"/run/netns/{container}")
    request = IpamRequest("net", attachment, config, Deadline.after(20))
    with Store(config.state_dir) as store:
        service._note_view(store)
        row = store.want(replace(service._wish(request), netns_inode=1))
        settle_anchor(store, row.anchor, Deadline.after(20))
        found = store.get(row.id)
    assert found is not None
    return found


def config(host: Host, mode: Mode) -> IpamConfig:
    return msgspec.convert(host.config(mode, quarantine=0), IpamConfig)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_node_that_is_as_it_should_be_has_no_findings(host: Host, mode: Mode) -> None:
    held(config(host, mode), "c1")
    with Store(str(host.state_dir)) as store:
        found = survey(store, host.conf_dir)
    assert (len(found.leases), found.findings, found.problems) == (1, [], [])


def test_leases_of_two_clouds_are_each_compared_with_their_own(
    scene: Scene, host: Host, tmp_path: Path
) -> None:
    """In mode `port` every attachment has its own anchor: the cloud tells which belong together."""
    with Scene(tmp_path / "another") as other:
        here = config(host, Mode.PORT)
        there = msgspec.structs.replace(
            here, clouds_file=str(other.clouds_file), network=other.network_id
        )
        held(here, "c1")
        held(there, "c2")
        with Store(str(host.state_dir)) as store:
            assert len(groups(store, configured(host.conf_dir))) == 2
            assert survey(store, host.conf_dir).findings == []


@pytest.mark.parametrize("mode", [Mode.PORT, Mode.ADDRESS_PAIRS])
def test_a_lease_without_its_reserving_port_is_missing(
    scene: Scene, host: Host, mode: Mode
) -> None:
    record = held(config(host, mode), "c1")
    scene.call("DELETE", f"/ports/{record.addresses[0].port_id}")
    with Store(str(host.state_dir)) as store:
        (finding,) = survey(store, host.conf_dir).findings
    assert (finding.kind, finding.record_id, finding.mendable) == (Kind.MISSING, record.id, True)


def test_a_cloud_that_is_down_is_a_problem_and_no_finding(scene: Scene, host: Host) -> None:
    chosen = config(host, Mode.PORT)
    held(chosen, "c1")
    scene.clouds_file.unlink()
    with Store(str(host.state_dir)) as store:
        found = survey(store, host.conf_dir)
        assert survey(store, host.conf_dir, offline=True).problems == []
    assert found.findings == []
    assert len(found.problems) == 1


def test_what_is_idle_goes_and_what_is_missing_comes_back(
    scene: Scene, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "YOUNG_SECONDS", 0.0)
    chosen = config(host, Mode.ADDRESS_PAIRS)
    idle, live = held(chosen, "c1"), held(chosen, "c2")
    monkeypatch.setattr(
        node,
        "namespace_with",
        lambda address: "/run/netns/c2" if address == live.addresses[0].address else "",
    )
    scene.call("PUT", f"/ports/{host.port_id}", {"port": {"allowed_address_pairs": []}})
    time.sleep(0.01)
    with Store(str(host.state_dir)) as store:
        work = work_to_do(store, host.conf_dir, frozenset)
        assert [(action, finding.record_id) for action, finding in work.steps] == [
            (Action.RELEASE, idle.id),
            (Action.PUT_BACK, live.id),
        ]
        assert mend_all(store, host.conf_dir, work, frozenset) == []
        left = {record.id: record.state for record in store.all()}
        assert left == {idle.id: State.RELEASED, live.id: State.HELD}, "idle: until a second look"
    assert pairs_on(scene.port(host.port_id)) == [str(live.addresses[0].address)]
    assert [addresses_on(port) for port in scene.reserves()] == [[live.addresses[0].address]]


def test_a_lease_that_a_floating_ip_keeps_says_so(scene: Scene, host: Host) -> None:
    record = held(config(host, Mode.FIXED_IPS), "c1")
    address = str(record.addresses[0].address)
    pointing = {"port_id": host.port_id, "fixed_ip_address": address, "router_id": None}
    scene.neutron.cloud.add("floatingips", pointing)
    with Store(str(host.state_dir)) as store:
        assert survey(store, host.conf_dir).waits == {}
        store.release(record.id, 0.0)
        time.sleep(0.01)
        settle_anchor(store, record.anchor, Deadline.after(20))
        (why,) = survey(store, host.conf_dir).waits.values()
    assert "has been associated to a floating ip" in why


def test_a_lease_that_waits_for_the_cloud_says_so(scene: Scene, host: Host) -> None:
    record = held(config(host, Mode.PORT), "c1")
    scene.clouds_file.rename(scene.clouds_file.with_suffix(".away"))
    with Store(str(host.state_dir)) as store:
        store.release(record.id, 0.0)
        time.sleep(0.01)
        sweeper._settle(store, record.anchor, str(host.state_dir))
        (why,) = survey(store, host.conf_dir, offline=True).waits.values()
    assert str(scene.clouds_file) in why


def test_a_dns_name_that_pods_share_is_a_warning_and_no_difference(
    scene: Scene, host: Host
) -> None:
    held(config(host, Mode.FIXED_IPS), "c1")
    scene.neutron.cloud.ports[host.port_id]["dns_name"] = "node1"
    with Store(str(host.state_dir)) as store:
        found = survey(store, host.conf_dir)
    assert (found.findings, found.problems) == ([], [])
    (warning,) = found.warnings
    assert "node1" in warning
