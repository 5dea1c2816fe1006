"""Ports of this node whose leases went with the store get leases again, each by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from neutron_cni.ipam import node, sweeper
from neutron_cni.ipam.audit.survey import survey
from neutron_cni.ipam.modes import MODES
from neutron_cni.ipam.settling import connected
from neutron_cni.store import Record, State, Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.fakes.api import Reply, Request
from tests.fakes.faults import BODIES
from tests.reliability.scene import Host, Scene
from tests.unit.ipam.test_survey import held


class Lost:
    """A node with pods on two networks, `other` and the scene's, whose store is lost."""

    def __init__(self, scene: Scene, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scene = scene
        self.host = Host(scene, "node")
        self.host.server.slow = False
        self.mode = mode
        self.monkeypatch = monkeypatch
        made = scene.call("POST", "/networks", {"network": {"name": "other"}})
        self.other = made["network"]["id"]
        subnet = {"network_id": self.other, "cidr": "10.77.0.0/24", "ip_version": 4}
        scene.call("POST", "/subnets", {"subnet": subnet})
        # Before and after the others, in whatever order Neutron lists them.
        for name, network in (("a", self.other), ("b", scene.network_id), ("c", self.other)):
            self.add(name, network=network)
        self.host.install(self.host.config(mode))
        self.host.lose_store()

    def add(self, name: str, **more: object) -> Record:
        return held(msgspec.convert(self.host.config(self.mode, **more), IpamConfig), name)

    def answers(self, path: str, reply: Reply | None) -> None:
        """What Neutron says, from now on, to who asks for that of the other network; None: what it
        has."""
        serve = type(self.scene.neutron).serve

        def served(request: Request) -> Reply:
            if reply is not None and request.path == path and self.other in str(request.query):
                return reply
            return serve(self.scene.neutron, request)

        self.monkeypatch.setattr(self.scene.neutron, "serve", served)

    def found(self) -> list[str]:
        """The networks of the leases that came back: of each, whether it is the other one's."""
        with Store(str(self.host.state_dir)) as store:
            records = [record for record in store.all() if not record.attachment.container_id]
            ports = [self.scene.port(record.addresses[0].port_id) for record in records]
        return sorted("other" if x["network_id"] == self.other else "scene's" for x in ports)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    with Scene(tmp_path / "scene") as made:
        yield made


@pytest.fixture(params=[Mode.PORT, Mode.NOVA_INTERFACE])
def lost(scene: Scene, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lost:
    return Lost(scene, request.param, monkeypatch)


def test_each_gets_a_lease_again(lost: Lost) -> None:
    lost.add("d")
    assert lost.found() == ["other", "other", "scene's"]


HIDDEN: Reply = (200, {"networks": [], "subnets": []})
"""What others do not share any more is in no list."""
FORBIDDEN: Reply = (403, json.loads(BODIES[403]))


@pytest.mark.parametrize("reply", [HIDDEN, FORBIDDEN], ids=["hidden", "forbidden"])
@pytest.mark.parametrize("what", ["/networks", "/subnets"])
def test_one_whose_network_can_not_be_seen_keeps_none_from_it(
    lost: Lost, reply: Reply, what: str
) -> None:
    lost.answers(what, reply)
    assert lost.add("d").state is State.HELD
    assert lost.found() == ["scene's"]
    with Store(str(lost.host.state_dir)) as store:
        texts = [item.text for item in survey(store, lost.host.conf_dir).findings]
    assert sum("has no lease here" in text for text in texts) == 2


def test_a_cloud_that_is_away_hides_nothing(lost: Lost) -> None:
    """The error is the caller's, and what has no lease yet gets it with the next look."""
    record = lost.add("d")
    lost.host.lose_store()
    lost.answers("/networks", (500, json.loads(BODIES[500])))
    with (
        Store(str(lost.host.state_dir)) as store,
        connected(store, [record.config], record.anchor, Deadline.after(1)) as context,
        pytest.raises(CniError, match="server error"),
    ):
        MODES[lost.mode].page.recover_lost(context)
    assert "other" not in lost.found()
    lost.answers("/networks", None)
    lost.add("e")
    assert lost.found() == ["other", "other", "scene's", "scene's"]
