"""The typed calls where a real Neutron can't be made to show it: pages, other clouds, faults."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from neutron_cni.openstack import patience as module
from neutron_cni.openstack.errors import AddressTaken, AnswerLost, Forbidden, NotFound, Refused
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import FixedIp
from neutron_cni.values.deadline import Deadline
from tests.fakes import FakeNeutron, Fault
from tests.fakes.cloud import DEFAULT_PROJECT
from tests.fakes.faults import FOREVER, Drop
from tests.support.openstack_doubles import Waits


@pytest.fixture
def fake() -> Iterator[FakeNeutron]:
    with FakeNeutron() as fake:
        yield fake


@pytest.fixture
def neutron(fake: FakeNeutron, tmp_path: Path) -> Neutron:
    return Neutron.connect("fake", str(fake.write_clouds_yaml(tmp_path)), Deadline.after(60))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(module, "time", waits)
    return waits


@pytest.fixture
def network(fake: FakeNeutron) -> dict[str, Any]:
    """A network with a subnet: ids."""
    network = made(fake, "networks", "network", name="net")
    subnet = made(fake, "subnets", "subnet", network_id=network["id"], cidr="10.9.0.0/24")
    return {"id": network["id"], "subnet": subnet["id"]}


def made(fake: FakeNeutron, collection: str, member: str, **attributes: Any) -> dict[str, Any]:
    """A new object, made without HTTP."""
    from tests.fakes.api import Request, answer

    reply = answer(fake.cloud, Request("POST", f"/{collection}", {}, {member: attributes}))[1]
    assert reply is not None
    found: dict[str, Any] = reply[member]
    return found


def port_on(fake: FakeNeutron, network: dict[str, Any], *addresses: str) -> str:
    """Id of a new port."""
    fixed_ips = [{"ip_address": address} for address in addresses]
    more = {"fixed_ips": fixed_ips} if addresses else {}
    return str(made(fake, "ports", "port", network_id=network["id"], **more)["id"])


class TestPages:
    """A cloud may answer lists in pages of its own size (`pagination_max_limit`)."""

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
    def test_all_of_them_are_read(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any], size: int
    ) -> None:
        ids = {port_on(fake, network, f"10.9.0.{number}") for number in range(10, 17)}
        fake.cloud.max_page = size
        found = neutron.ports(network_id=network["id"])
        assert [port.id for port in found] == sorted(ids)
        used = neutron.addresses_in_use(network["id"])
        assert used == {ip_address(f"10.9.0.{number}") for number in range(10, 17)}
        assert len(neutron.subnets(network["id"])) == 1
        assert neutron.network("net").id == network["id"]

    def test_a_port_that_goes_between_two_pages_is_no_hindrance(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        ids = sorted(port_on(fake, network) for _ in range(4))
        fake.cloud.max_page = 2
        # As if the second page's marker, the port it goes on after, were gone by then.
        missing = '{"NeutronError": {"type": "PortNotFound", "message": "", "detail": ""}}'
        fake.faults.add(Fault("GET", "/ports", skip=1, status=404, body=missing))
        assert [port.id for port in neutron.ports(network_id=network["id"])] == ids

    def test_a_list_that_is_not_there_is_not_asked_for_again(
        self, fake: FakeNeutron, neutron: Neutron
    ) -> None:
        fake.faults.add(Fault("GET", "/ports", status=404, times=FOREVER))
        with pytest.raises(NotFound):
            neutron.ports()
        assert fake.calls["GET /ports"] == 1


class TestTags:
    """Tags on clouds without tag-creation, with odd names, and with answers that are lost."""

    @pytest.mark.parametrize("tag", ["a b", "a?b", "a#b", "a%2Fb", "a&b=c"])
    @pytest.mark.parametrize("one_by_one", [False, True])
    def test_names_are_quoted(
        self,
        fake: FakeNeutron,
        neutron: Neutron,
        network: dict[str, Any],
        tag: str,
        one_by_one: bool,
    ) -> None:
        if one_by_one:
            fake.cloud.extensions.remove("tag-creation")
        port = port_on(fake, network)
        neutron.add_tags(port, [tag, "other"])
        assert fake.cloud.ports[port]["tags"] == sorted([tag, "other"])
        neutron.remove_tag(port, tag)
        assert fake.cloud.ports[port]["tags"] == ["other"]

    @pytest.mark.parametrize("drop", Drop)
    def test_a_lost_answer_is_looked_up(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any], drop: Drop
    ) -> None:
        port = port_on(fake, network)
        fake.faults.add(Fault("POST", "/tags", drop=drop))
        neutron.add_tags(port, ["a"])
        assert fake.cloud.ports[port]["tags"] == ["a"]
        fake.faults.add(Fault("DELETE", "/tags", drop=drop))
        if drop is Drop.AFTER:
            neutron.remove_tag(port, "a")
        else:
            with pytest.raises(AnswerLost):
                neutron.remove_tag(port, "a")
            neutron.remove_tag(port, "a")
        assert fake.cloud.ports[port]["tags"] == []

    def test_only_tags_that_are_missing_are_put_on_again_and_once(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        fake.cloud.be_neutron_21()
        port = port_on(fake, network)
        fake.faults.add(Fault("PUT", "/tags/b$", status=500))
        neutron.add_tags(port, ["a", "b"])
        assert fake.cloud.ports[port]["tags"] == ["a", "b"]
        assert fake.calls["PUT /ports/{id}/tags/{tag}"] == 3
        fake.faults.add(Fault("PUT", "/tags/c$", status=500, times=2))
        with pytest.raises(AnswerLost):
            neutron.add_tags(port, ["c"])

    def test_a_port_that_is_gone(self, fake: FakeNeutron, neutron: Neutron) -> None:
        gone = "00000000-0000-4000-8000-000000000000"
        with pytest.raises(NotFound):
            neutron.add_tags(gone, ["a"])
        neutron.remove_tag(gone, "a")

    def test_new_ports_are_tagged_in_the_same_call_where_the_cloud_can(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        fake.cloud.extensions.add("tag-ports-during-bulk-creation")
        port = neutron.create_port({"network_id": network["id"]}, ["a", "b"])
        assert port.tags == {"a", "b"}
        assert fake.calls["POST /ports/{id}/tags"] == 0

    def test_and_after_it_where_it_can_not(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        port = neutron.create_port({"network_id": network["id"]}, ["a", "b"])
        assert fake.cloud.ports[port.id]["tags"] == ["a", "b"]
        assert fake.calls["POST /ports/{id}/tags"] == 1

    def test_extensions_are_asked_for_once(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        for _ in range(3):
            neutron.within(Deadline.after(60)).add_tags(port_on(fake, network), ["a"])
        assert fake.calls["GET /extensions"] == 1


class TestOtherClouds:
    """What plain members are not told or shown."""

    @pytest.mark.parametrize("status", [403, 404])
    def test_a_quota_that_is_not_told(
        self, fake: FakeNeutron, neutron: Neutron, status: int
    ) -> None:
        fake.faults.add(Fault("GET", "/quotas", status=status))
        assert neutron.port_quota(DEFAULT_PROJECT) is None

    @pytest.mark.parametrize("status", [403, 404])
    def test_a_project_that_is_not_told(
        self, fake: FakeNeutron, neutron: Neutron, status: int
    ) -> None:
        fake.faults.add(Fault("GET", "/quotas", status=status))
        assert neutron.project_id() == ""

    def test_no_quota_is_not_full(self, fake: FakeNeutron, neutron: Neutron) -> None:
        fake.cloud.port_quota[DEFAULT_PROJECT] = -1
        quota = neutron.port_quota(DEFAULT_PROJECT)
        assert quota is not None
        assert not quota.full

    def test_an_address_of_a_port_that_we_can_not_see(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        fake.cloud.hidden.add(port_on(fake, network, "10.9.0.9"))
        port = neutron.port(port_on(fake, network, "10.9.0.5"))
        assert neutron.addresses_in_use(network["id"]) == {ip_address("10.9.0.5")}
        with pytest.raises(AddressTaken):
            neutron.set_fixed_ips(port, [FixedIp(network["subnet"], ip_address("10.9.0.9"))])

    def test_a_change_that_policy_forbids(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        port = neutron.port(port_on(fake, network, "10.9.0.5"))
        fake.faults.add(Fault("PUT", status=403))
        with pytest.raises(Forbidden, match="update_port"):
            neutron.set_fixed_ips(port, [])

    def test_32_digits_without_dashes_are_a_name(self, fake: FakeNeutron, neutron: Neutron) -> None:
        wanted = made(fake, "networks", "network", name="c0" * 16)
        assert neutron.network("c0" * 16).id == wanted["id"]

    def test_an_id_in_capitals_is_an_id(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        with pytest.raises((NotFound, Refused)):
            neutron.network(network["id"].upper() + "x")
        assert neutron.network(network["id"]).id == network["id"]

    def test_a_network_without_mtu(self, fake: FakeNeutron, neutron: Neutron) -> None:
        made(fake, "networks", "network", name="old", mtu=None)
        assert neutron.network("old").mtu is None


class TestLostAnswers:
    """What is found after an answer was lost."""

    def test_of_a_creation_the_port_is_found_by_its_device_id(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        fake.faults.add(Fault("POST", "/ports$", drop=Drop.AFTER))
        with pytest.raises(AnswerLost):
            neutron.create_port({"network_id": network["id"], "device_id": "uid"}, ["a"])
        assert len(neutron.ports(device_id="uid")) == 1

    def test_of_a_deletion_a_second_one_is_fine(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        port = port_on(fake, network)
        fake.faults.add(Fault("DELETE", drop=Drop.AFTER))
        with pytest.raises(AnswerLost):
            neutron.delete_port(port)
        neutron.delete_port(port)

    def test_of_an_update_the_revision_tells(
        self, fake: FakeNeutron, neutron: Neutron, network: dict[str, Any]
    ) -> None:
        port = neutron.port(port_on(fake, network, "10.9.0.5"))
        fake.faults.add(Fault("PUT", drop=Drop.AFTER))
        with pytest.raises(AnswerLost):
            neutron.set_fixed_ips(port, [])
        assert neutron.port(port.id).revision == port.revision + 1
