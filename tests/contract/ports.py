"""Ports: what they are made with, revisions and If-Match, and what can't be changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.contract.backend import NOWHERE, Backend, Reply, entries, pairs


class Ports:
    """POST, PUT and DELETE beside the addresses."""

    def test_a_new_port_has_what_we_read_of_it(self, backend: Backend) -> None:
        network, _ = backend.home()
        before = datetime.now(UTC).replace(microsecond=0)
        port = backend.make_port(
            network, name="pod", device_id="uid", device_owner="neutron-cni:pod", description="d"
        )
        assert port["name"] == "pod"
        assert port["device_id"] == "uid"
        assert port["device_owner"] == "neutron-cni:pod"
        assert port["network_id"] == network
        assert port["project_id"] == backend.project_id
        assert port["mac_address"].startswith("fa:16:3e:")
        assert port["port_security_enabled"] is True
        assert port["allowed_address_pairs"] == []
        assert len(port["security_groups"]) == 1
        assert port["tags"] == []
        assert port["revision_number"] == 1
        made = datetime.fromisoformat(port["created_at"].replace("Z", "+00:00"))
        assert abs((made - before).total_seconds()) < 5

    def test_tags_of_a_new_port_are_accepted_and_forgotten(self, backend: Backend) -> None:
        """Unless the cloud has the extension tag-ports-during-bulk-creation."""
        network, _ = backend.home()
        assert backend.make_port(network, tags=["a"])["tags"] == []

    def test_a_mac_is_kept_in_lower_case_and_is_unique(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network, mac_address="FA:16:3E:00:00:0A")
        assert port["mac_address"] == "fa:16:3e:00:00:0a"
        reply = backend.post_port(network, mac_address="fa:16:3e:00:00:0a")
        assert (reply.status, reply.kind) == (409, "MacAddressInUse")

    def test_what_is_not_there_is_404(self, backend: Backend) -> None:
        network, _ = backend.home()
        for reply, kind in (
            (backend.read(NOWHERE), "PortNotFound"),
            (backend.read("no-uuid"), "PortNotFound"),
            (backend.put(NOWHERE, name="x"), "PortNotFound"),
            (backend.call("DELETE", f"/ports/{NOWHERE}"), "PortNotFound"),
            (backend.call("GET", f"/networks/{NOWHERE}"), "NetworkNotFound"),
            (backend.call("GET", f"/subnets/{NOWHERE}"), "SubnetNotFound"),
            (backend.call("GET", "/nonsense"), "HTTPNotFound"),
            (backend.post_port(NOWHERE), "NetworkNotFound"),
            (backend.post_port(network, security_groups=[NOWHERE]), "SecurityGroupNotFound"),
        ):
            assert (reply.status, reply.kind) == (404, kind)

    @pytest.mark.parametrize(
        "name", ["id", "network_id", "tags", "revision_number", "created_at", "foo"]
    )
    def test_what_can_not_be_changed(self, backend: Backend, name: str) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)
        reply = backend.call("PUT", f"/ports/{port['id']}", {"port": {name: "x"}})
        assert (reply.status, reply.kind) == (400, "HTTPBadRequest")
        assert name in reply.message

    def test_bodies_that_make_no_sense(self, backend: Backend) -> None:
        network, _ = backend.home()
        for reply in (
            backend.call("POST", "/ports", {"nope": 1}),
            backend.call("POST", "/ports", {"port": {"project_id": backend.project_id}}),
            backend.post_port(network, foo="x"),
            backend.post_port(network, id=NOWHERE),
            backend.post_port(network, name="x" * 256),
            backend.post_port(network, mac_address="x"),
            backend.post_port(network, tags=["a", "a"]),
            backend.post_port(network, security_groups=["x"]),
        ):
            assert (reply.status, reply.kind) == (400, "HTTPBadRequest")

    def test_a_subnet_or_network_in_use_stays(self, backend: Backend) -> None:
        network, subnet = backend.home()
        backend.make_port(network)
        reply = backend.call("DELETE", f"/subnets/{subnet}")
        assert (reply.status, reply.kind) == (409, "SubnetInUse")
        reply = backend.call("DELETE", f"/networks/{network}")
        assert (reply.status, reply.kind) == (409, "NetworkInUse")

    def test_quota(self, backend: Backend) -> None:
        network, _ = backend.home()
        path = f"/quotas/{backend.project_id}"
        details = backend.call("GET", f"{path}/details.json").body["quota"]["port"]
        assert details["reserved"] == 0
        full = {"quota": {"port": details["used"] + 1}}
        assert backend.call("PUT", path, full).status == 200
        try:
            port = backend.make_port(network)
            reply = backend.post_port(network)
            assert (reply.status, reply.kind) == (409, "OverQuota")
            now = backend.call("GET", f"{path}/details.json").body["quota"]["port"]
            assert now["limit"] == now["used"] == details["used"] + 1
            assert backend.call("PUT", path, {"quota": {"port": 0}}).status == 400
            backend.call("DELETE", f"/ports/{port['id']}")
            backend.make_port(network)
        finally:
            assert backend.call("DELETE", path).status == 204


class Revisions:
    """`revision_number` and `If-Match`."""

    def test_each_change_is_one_revision(self, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5")["id"]
        seen = [backend.read(port).port["revision_number"]]
        several = entries(subnet, "10.60.0.5", "10.60.0.6", "10.60.0.7")
        changes: list[Callable[[], Reply]] = [
            lambda: backend.put(port, name="x"),
            lambda: backend.put(port, fixed_ips=several),
            lambda: backend.put(port, fixed_ips=entries(subnet, "10.60.0.8")),
            lambda: backend.put(port, allowed_address_pairs=pairs("10.60.0.9", "10.60.0.10")),
            lambda: backend.put(port, allowed_address_pairs=[]),
            lambda: backend.tag(port, ["a"]),
            lambda: backend.one_tag("DELETE", port, "a"),
        ]
        for change in changes:
            assert change().status in (200, 201, 204)
            seen.append(backend.read(port).port["revision_number"])
        assert seen == list(range(seen[0], seen[0] + 8))

    def test_no_change_is_no_revision(self, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5", name="x")["id"]
        backend.tag(port, ["a"])
        before = backend.read(port).port["revision_number"]
        backend.put(port, name="x")
        backend.put(port, fixed_ips=entries(subnet, "10.60.0.5"))
        backend.put(port, allowed_address_pairs=[])
        backend.tag(port, ["a"])
        backend.one_tag("PUT", port, "a")
        backend.one_tag("DELETE", port, "b")
        assert backend.read(port).port["revision_number"] == before

    def test_the_same_pairs_again_are_a_revision(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network, allowed_address_pairs=pairs("10.60.0.9"))
        after = backend.put(port["id"], allowed_address_pairs=pairs("10.60.0.9")).port
        assert after["revision_number"] == port["revision_number"] + 1

    def test_a_stale_revision_is_refused(self, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5")
        old = port["revision_number"]
        new = backend.put(port["id"], old, name="x").port["revision_number"]
        for reply in (
            backend.put(port["id"], old, name="x"),
            backend.put(port["id"], old, fixed_ips=entries(subnet, "10.60.0.6")),
            backend.put(port["id"], old, fixed_ips=entries(subnet, "10.60.0.5", "10.60.0.6")),
            backend.put(port["id"], old, allowed_address_pairs=pairs("10.60.0.9")),
            backend.call("DELETE", f"/ports/{port['id']}", revision=old),
        ):
            assert (reply.status, reply.kind) == (412, "RevisionNumberConstraintFailed")
            assert reply.message == f"Constrained to {old}, but current revision is {new}"
        after = backend.read(port["id"])
        assert after.addresses == ["10.60.0.5"]
        assert after.port["revision_number"] == new

    def test_a_put_that_changes_nothing_is_never_stale(self, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5")
        old = port["revision_number"]
        backend.put(port["id"], name="x")
        assert backend.put(port["id"], old, fixed_ips=entries(subnet, "10.60.0.5")).status == 200
        assert backend.put(port["id"], old, allowed_address_pairs=[]).status == 200

    def test_a_taken_address_is_told_before_a_stale_revision(self, backend: Backend) -> None:
        network, subnet = backend.home()
        backend.make_port(network, "10.60.0.9")
        port = backend.make_port(network, "10.60.0.5")
        backend.put(port["id"], name="x")
        stale = port["revision_number"]
        added = backend.put(port["id"], stale, fixed_ips=entries(subnet, "10.60.0.5", "10.60.0.9"))
        assert added.status == 409
        swapped = backend.put(port["id"], stale, fixed_ips=entries(subnet, "10.60.0.9"))
        assert swapped.status == 412  # the removal is written first, and with it compared

    @pytest.mark.parametrize(("condition", "status"), [("revision_number=x", 400), ("x", 200)])
    def test_conditions_of_other_forms(self, backend: Backend, condition: str, status: int) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)
        path, body = f"/ports/{port['id']}", {"port": {"name": "x"}}
        reply = backend.call("PUT", path, body, headers={"If-Match": condition})
        assert reply.status == status

    def test_tags_know_no_conditions(self, backend: Backend) -> None:
        """500, whether it fits or not (TaggingController of Neutron 29)."""
        network, _ = backend.home()
        port = backend.make_port(network)
        path, body = f"/ports/{port['id']}/tags", {"tags": ["a"]}
        assert backend.call("POST", path, body, revision=port["revision_number"]).status == 500
        assert backend.read(port["id"]).port["tags"] == []
