"""ADD waits for the pod's gateway as long as the configuration says, and not again in vain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from neutron_cni.ipam import passing
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.passing import SILENT_SECONDS, await_network
from neutron_cni.store import Store
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease
from tests.support.cni_doubles import LEASE


class Gateways:
    """Who is asked, with how many seconds to answer in; `silent` ones do not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[float] = []
        self.silent = False
        self.network = "net"

    def waited(self, lease: Lease = LEASE, seconds: float = 60, **ipam: Any) -> int:
        """How many seconds a call that has `seconds` left was ready to wait, rounded."""
        self.asked.clear()
        config = IpamConfig(type="cni-ipam-neutron", state_dir=str(self.folder), **ipam)
        attachment = Attachment("c1", "/run/netns/c1", "eth0")
        request = IpamRequest(self.network, attachment, config, Deadline.after(seconds))
        await_network(request, lease, self._ask)
        return round(sum(self.asked))

    def _ask(self, lease: Lease, deadline: Deadline) -> bool:
        self.asked.append(deadline.left)
        return not self.silent


@pytest.fixture
def gateways(tmp_path: Path) -> Gateways:
    return Gateways(tmp_path)


def test_it_waits_five_seconds_at_most_if_nobody_says_otherwise(gateways: Gateways) -> None:
    assert gateways.waited() == 5
    assert gateways.waited(wait_for_network=2) == 2
    assert gateways.waited(wait_for_network="off") == 0
    assert gateways.waited(seconds=3) == 3


def test_a_gateway_that_was_silent_is_not_waited_for_again_for_some_minutes(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateways.silent = True
    assert [gateways.waited(), gateways.waited()] == [5, 0]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SILENT_SECONDS + 1)
    assert gateways.waited() == 5


def test_each_gateway_is_remembered_by_itself(gateways: Gateways) -> None:
    gateways.silent = True
    gateways.waited()
    gateways.silent = False
    other = Lease(addresses=LEASE.addresses[:1], mtu=1442)
    assert [gateways.waited(other), gateways.waited(other)] == [5, 5]


def test_a_gateway_of_another_network_has_not_been_silent(gateways: Gateways) -> None:
    """Projects' networks often have the same addresses."""
    gateways.silent = True
    gateways.waited()
    gateways.network = "other"
    assert gateways.waited() == 5


def test_a_call_that_is_late_does_not_take_the_gateway_for_silent(gateways: Gateways) -> None:
    gateways.silent = True
    assert [gateways.waited(seconds=0), gateways.waited(seconds=3)] == [0, 3]
    assert gateways.waited() == 5


def test_a_locked_store_is_not_waited_for_long(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float] = []

    def store(state_dir: str, seconds: float = 20.0) -> Store:
        patience.append(seconds)
        return Store(state_dir, seconds)

    monkeypatch.setattr(passing, "Store", store)
    gateways.silent = True
    gateways.waited()
    assert patience == [passing.STORE_SECONDS] * 2


def test_a_store_that_can_not_be_opened_fails_no_pod(gateways: Gateways) -> None:
    (gateways.folder / "store.db").mkdir()
    assert gateways.waited() == 0
