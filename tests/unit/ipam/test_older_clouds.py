"""Clouds that lack what Neutron 29 has: limits and extensions, each said in words."""

from __future__ import annotations

from contextlib import closing

import msgspec
import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import node
from neutron_cni.ipam.modes.reserving_port import ports_of_node
from neutron_cni.openstack.errors import FixedIpLimit, NoTags, NotFound
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.neutron_service import NEUTRON
from neutron_cni.store import Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.fakes import Fault
from tests.fakes.faults import FOREVER
from tests.reliability.life import Life
from tests.unit.conftest import LifeMaker

ALL_MODES = pytest.mark.parametrize("mode", list(Mode))


def test_a_limit_of_fixed_ips_is_no_invalid_configuration() -> None:
    """As it is worded in the releases that have it."""
    message = "Invalid input for operation: Exceeded maximum amount of fixed ips per port."
    body = msgspec.json.encode({"NeutronError": {"type": "InvalidInput", "message": message}})
    error = NEUTRON.refusal(400, body, "changing the addresses of port p")
    assert isinstance(error, FixedIpLimit)
    assert error.code == Code.EXHAUSTED
    assert "max_fixed_ips_per_port" in error.details


def test_pods_that_fit_get_addresses_and_the_others_are_told_the_limit(
    new_life: LifeMaker,
) -> None:
    life = new_life()
    life.scene.neutron.cloud.max_fixed_ips = 5
    outcomes = life.run(*(life.job("add", life.new_container()) for _ in range(6)))
    assert sorted(outcome.code for outcome in outcomes) == [0] * 4 + [Code.EXHAUSTED] * 2
    errors = [outcome.error for outcome in outcomes if not outcome.ok]
    assert all("max_fixed_ips_per_port" in error for error in errors)
    assert life.end() == []


@ALL_MODES
def test_pods_live_on_neutron_21(new_life: LifeMaker, mode: Mode) -> None:
    """The fake is held to what the real one does by `tests.contract.differences`."""
    life = new_life(mode)
    life.scene.neutron.cloud.be_neutron_21()
    outcomes = life.run(*(life.job("add", life.new_container()) for _ in range(6)))
    assert [outcome.error for outcome in outcomes if not outcome.ok] == []
    for container in life.containers[:3]:
        assert life.delete(container).ok
    assert life.add().ok
    assert life.end() == []
    assert life.scene.neutron.calls["POST /ports/{id}/tags"] == 0


@ALL_MODES
def test_a_tag_that_neutron_21_fails_at_is_put_on_all_the_same(
    new_life: LifeMaker, mode: Mode
) -> None:
    """It answers 500 to one of two writers that put the same new tag on at the same time."""
    life = new_life(mode)
    life.scene.neutron.cloud.be_neutron_21()
    life.scene.neutron.faults.add(Fault("PUT", "/tags/", status=500))
    assert life.add().ok
    assert life.end() == []


def test_a_node_whose_name_differs_in_case_is_another_one(new_life: LifeMaker) -> None:
    """Neutron 21 does not tell their tags apart."""
    life = new_life(Mode.PORT)
    life.scene.neutron.cloud.be_neutron_21()
    assert life.add().ok
    config = msgspec.convert(life.config, IpamConfig)
    name = node.name(config)
    assert name != name.upper()
    with closing(Neutron.connect(config.cloud, config.clouds_file, Deadline.after(20))) as neutron:
        assert len(ports_of_node(neutron, name)) == 1
        assert ports_of_node(neutron, name.upper()) == []
    assert life.end() == []


@ALL_MODES
def test_a_cloud_without_tags_is_told_in_words(new_life: LifeMaker, mode: Mode) -> None:
    life = new_life(mode)
    life.scene.neutron.cloud.extensions -= {"standard-attr-tag", "tag-creation"}
    outcome = life.add()
    assert outcome.code == Code.INVALID_CONFIG
    assert "can't tag ports: it has no extension standard-attr-tag" in outcome.error
    with pytest.raises(CniError, match="no extension standard-attr-tag") as caught:
        status(life)
    assert caught.value.code == Code.PLUGIN_NOT_AVAILABLE
    assert life.end() == []


@ALL_MODES
def test_a_policy_against_tags_is_told_with_its_names(new_life: LifeMaker, mode: Mode) -> None:
    life = new_life(mode)
    life.scene.neutron.faults.add(Fault("POST|PUT", "/tags", status=403, times=FOREVER))
    outcome = life.add()
    assert outcome.code == Code.CREDENTIALS
    assert "create_port:tags" in outcome.error
    assert life.end() == []


def test_a_gateways_404_is_no_word_about_tags(new_life: LifeMaker) -> None:
    life = new_life()
    page = Fault("POST", "/tags", status=404, body="default backend - 404", times=FOREVER)
    life.scene.neutron.faults.add(page)
    outcome = life.add()
    assert outcome.code == Code.TRY_AGAIN
    assert "extension" not in outcome.error
    assert life.end() == []


def test_a_port_that_is_gone_is_not_taken_for_a_cloud_without_tags(new_life: LifeMaker) -> None:
    life = new_life()
    body = '{"NeutronError": {"type": "PortNotFound", "message": "gone", "detail": ""}}'
    life.scene.neutron.faults.add(Fault("POST", "/tags", status=404, body=body))
    with pytest.raises(NotFound):
        add_a_tag(life)
    life.scene.neutron.cloud.extensions -= {"standard-attr-tag", "tag-creation"}
    with pytest.raises(NoTags):
        add_a_tag(life)


@ALL_MODES
def test_status_asks_for_the_extensions_now_and_then_only(new_life: LifeMaker, mode: Mode) -> None:
    life = new_life(mode)
    for _ in range(3):
        status(life)
    assert life.scene.neutron.calls["GET /extensions"] == 1
    with Store(str(life.host.state_dir)) as store:
        assert store.fact(f"tags|fake|{life.scene.clouds_file}") == "yes"


def add_a_tag(life: Life) -> None:
    config = msgspec.convert(life.config, IpamConfig)
    connected = Neutron.connect(config.cloud, config.clouds_file, Deadline.after(20))
    with closing(connected) as neutron:
        neutron.add_tags(life.host.port_id, ["a"])


def status(life: Life) -> None:
    """In this process, and without patience: one look is to say no."""
    config = {**life.config, "statusPatience": 0}
    own_ipam().status(msgspec.convert(config, IpamConfig), Deadline.after(20))
