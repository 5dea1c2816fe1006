"""The fake's own switches: faults, rivals, overlap, counters, and its form as a process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.contract.backend import Backend, entries
from tests.fakes import FakeNeutron, Fault, server
from tests.fakes.cloud import DEFAULT_PROJECT
from tests.fakes.faults import Drop
from tests.fakes.neutron import FIXED_IPS_CHANGED

ROOT = Path(__file__).parents[3]


@pytest.fixture
def fake() -> Iterator[FakeNeutron]:
    with FakeNeutron() as fake:
        yield fake


@pytest.fixture
def backend(fake: FakeNeutron, tmp_path: Path) -> Backend:
    return Backend(fake.url, DEFAULT_PROJECT, tmp_path, fake.cloud.overlap.expect)


class TestFaults:
    """Which requests fail, how often, and whether they were carried out."""

    def test_the_next_n_that_match(self, fake: FakeNeutron, backend: Backend) -> None:
        fake.faults.add(Fault("GET", "/networks$", status=503, times=2))
        assert backend.get("ports").status == 200
        got = [backend.get("networks").status for _ in range(3)]
        assert got == [503, 503, 200]

    def test_some_are_let_through_first(self, fake: FakeNeutron, backend: Backend) -> None:
        fake.faults.add(Fault(status=500, skip=2))
        assert [backend.get("ports").status for _ in range(4)] == [200, 200, 500, 200]

    def test_several_are_taken_in_order(self, fake: FakeNeutron, backend: Backend) -> None:
        fake.faults.add(Fault(status=500), Fault(status=502))
        assert [backend.get("ports").status for _ in range(3)] == [500, 502, 200]

    def test_clear(self, fake: FakeNeutron, backend: Backend) -> None:
        fake.faults.add(Fault(status=500, times=-1))
        fake.faults.rival_every(1)
        assert [backend.get("ports").status for _ in range(2)] == [500, 500]
        fake.faults.clear()
        assert backend.get("ports").status == 200

    @pytest.mark.parametrize(("drop", "there"), [(Drop.BEFORE, 0), (Drop.AFTER, 1)])
    def test_a_dropped_request_was_or_was_not_done(
        self, fake: FakeNeutron, backend: Backend, drop: Drop, there: int
    ) -> None:
        fake.faults.add(Fault("POST", drop=drop))
        with pytest.raises(OSError):  # noqa: PT011 - of which kind depends on the timing
            backend.make_network()
        assert len(fake.cloud.tables["networks"]) == there

    def test_a_delay(
        self, fake: FakeNeutron, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waited: list[float] = []
        monkeypatch.setattr(fake.stopping, "wait", waited.append)
        fake.faults.add(Fault(delay=3600))
        assert backend.get("ports").status == 200
        assert waited == [3600]

    def test_refused_connections_and_back_with_the_same_objects(
        self, fake: FakeNeutron, backend: Backend
    ) -> None:
        network = backend.make_network()
        fake.stop()
        with pytest.raises(ConnectionRefusedError):
            backend.get("networks")
        fake.resume()
        assert backend.get("networks").body["networks"][0]["id"] == network

    def test_refused_connections_for_a_while(
        self, fake: FakeNeutron, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The control endpoint of `TestProcess`. The while begins and ends when the test says."""
        began, over = threading.Event(), threading.Event()

        def sleep(seconds: float) -> None:
            if seconds == 3600:
                began.set()
                over.wait()

        monkeypatch.setattr(server, "time", SimpleNamespace(sleep=sleep))
        fake.control("POST", "/_faults", {"refuse": 3600})
        began.wait()
        with pytest.raises(ConnectionRefusedError):
            backend.get("ports")
        over.set()
        wait_for(lambda: answers(backend))

    def test_rivals_make_every_second_put_stale(self, fake: FakeNeutron, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        fake.faults.rival_every(2)
        statuses = []
        for number in range(4):
            revision = backend.read(port).port["revision_number"]
            statuses.append(backend.put(port, revision, name=f"n{number}").status)
        assert statuses == [200, 412, 200, 412]

    def test_a_token(self, fake: FakeNeutron, backend: Backend) -> None:
        fake.token = "secret"
        assert backend.get("ports").status == 401
        reply = backend.call("GET", "/ports", headers={"X-Auth-Token": "secret"})
        assert reply.status == 200


class TestOverlap:
    """PUTs that look, wait for one another, and then change."""

    def test_a_put_waits_for_its_rivals(self, fake: FakeNeutron, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.2")
        revision = port["revision_number"]
        replies = backend.at_once(
            [
                lambda: backend.put(port["id"], revision, fixed_ips=[]),
                lambda: backend.put(
                    port["id"], revision, fixed_ips=entries(subnet, "10.60.0.2", "10.60.0.5")
                ),
            ]
        )
        assert [reply.status for reply in replies] == [200, 200]
        assert backend.read(port["id"]).addresses == ["10.60.0.5"]

    def test_only_as_many_as_were_expected(self, fake: FakeNeutron, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        fake.cloud.overlap.expect(1)
        assert [backend.put(port, name=f"n{n}").status for n in range(3)] == [200] * 3
        assert fake.cloud.overlap.met  # Nobody waited in vain.


class TestCounters:
    """`FakeNeutron.calls`."""

    def test_by_kind(self, fake: FakeNeutron, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.2")["id"]
        fake.calls.clear()
        backend.read(port)
        backend.put(port, name="x")
        backend.put(port, fixed_ips=entries(subnet, "10.60.0.2"))
        backend.put(port, fixed_ips=entries(subnet, "10.60.0.3"))
        backend.put(port, 0, fixed_ips=entries(subnet, "10.60.0.4"))
        backend.post_tags(port, ["a"])
        backend.one_tag("DELETE", port, "a")
        backend.call("GET", f"/quotas/{DEFAULT_PROJECT}/details.json")
        assert fake.calls == {
            "GET /ports/{id}": 1,
            "PUT /ports/{id}": 4,
            FIXED_IPS_CHANGED: 1,
            "POST /ports/{id}/tags": 1,
            "DELETE /ports/{id}/tags/{tag}": 1,
            "GET /quotas/{id}/details": 1,
        }

    def test_failed_requests_count_too(self, fake: FakeNeutron, backend: Backend) -> None:
        fake.faults.add(Fault(status=503))
        backend.get("ports")
        assert fake.calls["GET /ports"] == 1


class Process:
    """A fake of its own process, and its control endpoints."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.fakes.neutron", "--clouds-yaml", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """A request to a control endpoint."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}{path}", data, method=method)) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class TestProcess:
    """`python -m tests.fakes.neutron`."""

    @pytest.fixture
    def process(self, tmp_path: Path) -> Iterator[Process]:
        process = Process(tmp_path)
        yield process
        process.stop()

    @pytest.fixture
    def remote(self, process: Process, tmp_path: Path) -> Backend:
        def expect(number: int) -> None:
            process.control("POST", "/_faults", {"overlap": number})

        folder = tmp_path / "backend"
        folder.mkdir()
        return Backend(process.url, DEFAULT_PROJECT, folder, expect)

    def test_it_serves_and_wrote_clouds_yaml(
        self, process: Process, remote: Backend, tmp_path: Path
    ) -> None:
        assert remote.get("ports").body == {"ports": []}
        assert process.url in (tmp_path / "clouds.yaml").read_text()

    def test_faults(self, process: Process, remote: Backend) -> None:
        process.control("POST", "/_faults", {"method": "GET", "status": 503, "times": 2})
        assert [remote.get("ports").status for _ in range(2)] == [503, 503]
        assert remote.get("ports").status == 200
        process.control("POST", "/_faults", {"drop": "before"})
        with pytest.raises(OSError):  # noqa: PT011 - of which kind depends on the timing
            remote.get("ports")
        process.control("POST", "/_faults", {"status": 503, "times": -1})
        process.control("DELETE", "/_faults")
        assert remote.get("ports").status == 200
        assert process.control("GET", "/_calls") == {"GET /ports": 5}

    def test_rivals_and_overlap(self, process: Process, remote: Backend) -> None:
        network, subnet = remote.home()
        port = remote.make_port(network, "10.60.0.2")
        replies = remote.at_once(
            [
                lambda: remote.put(port["id"], 1, fixed_ips=entries(subnet, "10.60.0.3")),
                lambda: remote.put(port["id"], 1, fixed_ips=entries(subnet, "10.60.0.4")),
            ]
        )
        assert [reply.status for reply in replies] == [200, 200]
        process.control("POST", "/_faults", {"rival_every": 1})
        revision = remote.read(port["id"]).port["revision_number"]
        assert remote.put(port["id"], revision, name="x").status == 412

    def test_refused_connections_and_back(self, process: Process, remote: Backend) -> None:
        process.control("POST", "/_faults", {"refuse": 0.5})
        wait_for(lambda: answers(remote))


def answers(backend: Backend) -> bool:
    try:
        return backend.get("ports").status == 200
    except OSError:
        return False


def wait_for(true: Callable[[], bool]) -> None:
    """Fails when it does not come in minutes."""
    give_up = time.monotonic() + 120
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)
