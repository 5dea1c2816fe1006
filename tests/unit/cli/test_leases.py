"""What `neutron-cni leases` prints: nothing is cut, wherever it goes, and what waits says why."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from neutron_cni.cli import app, leases
from neutron_cni.ipam.anchors import blocked_fact, trouble_fact
from neutron_cni.store import PortAddress, Record, State, Store
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig
from tests.unit.store.test_store import wish

ADDRESSES = ("10.10.9.27", "2001:db8:1111:2222:3333:4444:5555:6666")
POD = PodRef("a-namespace-with-a-rather-long-name", "deployment-5d78c9869d-" + "x" * 40, "uid")
NETWORK = "a-network-whose-name-is-not-short-either"


def record(number: int, state: State, until: float = 0.0, **more: object) -> Record:
    """A lease of both families, of a pod with long names."""
    made = replace(
        wish(f"c{number}"),
        network=NETWORK,
        attachment=Attachment(f"c{number}", "eth0", f"/run/netns/c{number}"),
        pod=POD,
        state=state,
        until=until,
        addresses=tuple(PortAddress(ip_address(item), "subnet", "port") for item in ADDRESSES),
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.delenv("COLUMNS", raising=False)
    with Store(str(tmp_path / "state")) as store:
        yield store


def shown(store: Store, *more: str) -> Result:
    folders = ["--state-dir", str(store.path.parent), "--conf-dir", "/nonexistent", "--offline"]
    return CliRunner().invoke(app.build(), ["leases", *folders, *more])


def test_in_a_pipe_a_lease_is_a_line_and_nothing_is_cut(store: Store) -> None:
    store.add_recovered(record(1, State.HELD))
    lines = shown(store).stdout.splitlines()
    (line,) = [line for line in lines if ADDRESSES[0] in line]
    assert [part in line for part in (str(POD), NETWORK, "eth0", "held")] == [True] * 4
    assert [line for line in lines if ADDRESSES[1] in line]


@pytest.mark.parametrize("width", [40, 80, 200, 400])
def test_on_a_terminal_no_name_is_cut_or_broken(
    store: Store, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """A name that was broken can't be copied, nor found by `grep` in what was copied."""
    store.add_recovered(record(1, State.COOLING, until=time.time() + 3000))
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(leases, "_console", lambda: console)
    assert shown(store).exit_code == 0
    for part in (*ADDRESSES, str(POD), NETWORK, "cooling"):
        assert part in screen.getvalue()


def test_what_a_terminal_is_told_to_be_wide_is_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert leases._console().width > 1000
    main, terminal = os.openpty()
    with open(main, "rb"), open(terminal, "w") as screen:
        monkeypatch.setattr("sys.stdout", screen)
        monkeypatch.setenv("COLUMNS", "77")
        monkeypatch.setenv("TERM", "xterm")
        assert leases._console().width == 77


# Why one waits


def why(store: Store) -> list[str]:
    return [item["why"] for item in json.loads(shown(store, "--json").stdout)["leases"]]


def test_what_is_released_says_what_is_in_the_way(store: Store) -> None:
    past = time.time() - 10
    store.add_recovered(record(1, State.RELEASED, changed=past))
    assert why(store) == [""]
    store.remember(trouble_fact("anchor"), "Keystone is unreachable")
    assert why(store) == ["Keystone is unreachable"]
    store.remember(blocked_fact("anchor", ip_address(ADDRESSES[1])), "a floating IP points at it")
    assert why(store) == ["a floating IP points at it"]
    assert "a floating IP points at it" in shown(store).stdout


def test_what_was_in_the_way_of_the_address_before_is_not_told(store: Store) -> None:
    store.remember(blocked_fact("anchor", ip_address(ADDRESSES[0])), "a floating IP points at it")
    time.sleep(0.01)
    store.add_recovered(record(1, State.RELEASED, changed=time.time()))
    assert why(store) == [""]


def test_a_lease_that_is_watched_says_so_and_one_that_rests_or_is_held_says_nothing(
    store: Store,
) -> None:
    soon = time.time() + 100
    store.add_recovered(record(1, State.RELEASED, until=soon))
    store.add_recovered(record(2, State.COOLING, until=soon))
    store.add_recovered(record(3, State.HELD))
    watched, rests, held = why(store)
    assert "may still arrive" in watched
    assert (rests, held) == ("", "")
    store.remember(trouble_fact("anchor"), "Keystone is unreachable")
    assert why(store) == ["Keystone is unreachable", "", ""]


def test_a_request_says_why_it_failed(store: Store) -> None:
    store.want(record(1, State.WANTED, addresses=(), config=IpamConfig(type="cni-ipam-neutron")))
    (row,) = store.all()
    store.fail({row.id: CniError(Code.EXHAUSTED, "no address is left")})
    assert why(store) == ["no address is left"]
