"""Sandboxes that a runtime which lost its data may have forgotten: named, freed when told so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from neutron_cni.cli import links
from neutron_cni.ipam import node, sweeper
from neutron_cni.ipam.audit import compare, mend
from neutron_cni.ipam.audit.compare import doubtful
from neutron_cni.store import PortAddress, Record, State, Store, Wish
from neutron_cni.values.attachment import BY_HAND, Attachment, PodRef
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.reliability.scene import Host, Scene
from tests.unit.ipam.test_configured import OURS, cli, state
from tests.unit.ipam.test_survey import held

POD = PodRef("shop", "cart", "uid-1")


def record(number: int, **more: object) -> Record:
    """A lease of an hour ago, whose namespace has this inode."""
    attachment = Attachment(f"container{number}", "eth0", f"/run/netns/c{number}")
    made = Record(
        network="net",
        attachment=attachment,
        token=attachment.token("net"),
        nonce=str(number),
        pod=PodRef("shop", f"cart{number}", f"uid{number}"),
        config=IpamConfig(type="cni-ipam-neutron"),
        anchor="a",
        state=State.HELD,
        wish=Wish(),
        owner="",
        netns_inode=number,
        created=time.time() - 3600 + number,
        changed=time.time() - 3600 + number,
        addresses=(PortAddress(ip_address(f"10.0.0.{number}"), "s", "p"),),
        id=number,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def named(*records: Record, occupied: tuple[int, ...]) -> dict[int, str]:
    return {item.record_id: item.text for item in doubtful(records, occupied)}


def test_a_namespace_without_a_process_is_doubtful() -> None:
    found = named(record(1), record(2), occupied=(2,))
    assert set(found) == {1}
    assert "no process is in its namespace /run/netns/c1" in found[1]
    assert "does the runtime still know container container1" in found[1]


def test_what_an_operator_attached_needs_no_process() -> None:
    by_hand = Attachment(f"{BY_HAND}web-12345678", "eth0", "/run/netns/web")
    assert not named(record(1, attachment=by_hand), occupied=())


def test_of_a_pod_with_two_sandboxes_the_older_is_doubtful() -> None:
    found = named(record(3, pod=POD), record(2, pod=POD), record(1), occupied=(1, 2, 3))
    assert set(found) == {2}
    assert "its pod uid-1 has a newer sandbox with 10.0.0.3" in found[2]


@pytest.mark.parametrize(
    "other",
    [
        record(3, pod=replace(POD, uid="uid-2")),
        record(3, pod=POD, network="another"),
        record(3, pod=POD, attachment=Attachment("c", "net1")),
        record(3, pod=POD, state=State.COOLING),
        record(3, pod=POD, changed=time.time() + 3600),
    ],
    ids=["made anew", "network", "interface", "released", "just made"],
)
def test_a_pod_may_have_more_than_one_lease(other: Record) -> None:
    assert named(record(2, pod=POD), other, occupied=(2, 3)) == {}


def test_containers_outside_of_kubernetes_are_not_taken_for_one_pod() -> None:
    assert named(record(1, pod=PodRef()), record(2, pod=PodRef()), occupied=(1, 2)) == {}


# What an operator does about it


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A node with one lease, whose namespace lives without a process; its link can be removed."""
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(mend, "remove_stale_entries", lambda: None)
    monkeypatch.setattr(compare, "YOUNG_SECONDS", -1.0)
    monkeypatch.setattr(compare, "is_gone", lambda netns, inode: False)
    has = ["/run/netns/c1"]
    monkeypatch.setattr(node, "namespace_with", lambda address: has[0])
    monkeypatch.setattr(links, "remove", lambda token: has.__setitem__(0, ""))
    with Scene(tmp_path / "scene") as scene:
        host = Host(scene, "node")
        held(msgspec.convert(host.config(Mode.FIXED_IPS, quarantine=300), IpamConfig), "c1")
        yield host


def address(host: Host) -> str:
    with Store(str(host.state_dir)) as store:
        (found,) = store.all()
    return str(found.addresses[0].address)


def test_gc_names_it_and_leaves_it(host: Host) -> None:
    for words in (("gc",), ("gc", "--apply")):
        done = cli(host, *words)
        assert done.exit_code == 0
        assert f"doubtful {address(host)}: " in done.output
        assert f"if not: --free {address(host)}" in done.output
        assert "nothing to do" in done.output
    assert state(host) == State.HELD


def test_what_the_operator_names_is_detached_and_released(host: Host) -> None:
    looked = cli(host, "gc", "--free", address(host))
    assert (looked.exit_code, state(host)) == (0, State.HELD)
    assert f"would release {address(host)}" in looked.output
    done = cli(host, "gc", "--apply", "--free", address(host))
    assert (done.exit_code, state(host)) == (0, State.COOLING)


def test_an_address_that_another_plugin_put_there_stays_until_its_namespace_goes(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be given to another pod while this namespace answers for it."""
    monkeypatch.setattr(links, "remove", lambda token: None)
    done = cli(host, "gc", "--apply", "--free", address(host))
    assert (done.exit_code, state(host)) == (1, State.HELD)
    assert "is still in the namespace /run/netns/c1" in done.output


@pytest.mark.parametrize("text", ["10.99.99.99", "fd00::99", "nonsense"])
def test_what_is_not_doubtful_is_not_freed(host: Host, text: str) -> None:
    done = cli(host, "gc", "--apply", "--free", text)
    assert (done.exit_code, state(host)) == (1, State.HELD)
    assert text in done.output


def test_a_pod_that_has_a_process_by_now_is_not_freed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([frozenset[int](), frozenset({1})])
    monkeypatch.setattr(node, "occupied", lambda: next(looks))
    done = cli(host, "gc", "--apply", "--free", address(host))
    assert (done.exit_code, state(host)) == (1, State.HELD)
    assert "is not doubtful any more" in done.output


def test_gc_that_could_not_look_does_not_say_that_nothing_is_to_do(host: Host) -> None:
    (host.conf_dir / "10-broken.conf").write_bytes(OURS)
    done = cli(host, "gc")
    assert done.exit_code == 1
    assert "nothing to do" not in done.output
    assert "not all could be looked at" in done.output
