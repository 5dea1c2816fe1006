"""Processes of one burst: the first does the others' calls, and nobody depends on it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cni_doubles import environment, stdin

PATIENCE = 120.0
"""Seconds after which what a test waits for does not come."""

PLUGIN = """
import os, sys, time
sys.path[:0] = {path!r}
from neutron_cni.hosts import call, client, peer, server
from neutron_cni.launcher import main
from tests.support.cni_doubles import World, FakeIpam

class Slow(FakeIpam):
    def acquire(self, request):
        me = f"{{os.getpid()}} {{request.attachment.container_id}}"
        left = int(request.deadline.left + 0.5)
        open({folder!r} + "/left-" + request.attachment.container_id, "w").write(str(left))
        open({folder!r} + "/log", "a").write(me + chr(10))
        while not os.path.exists({folder!r} + "/go-" + request.attachment.container_id):
            time.sleep(0.01)
        return super().acquire(request)

client.FOLDER = {state!r}
of = peer.of
if {suspicious!r}:
    peer.of = lambda connection: (of(connection)[0], os.geteuid() + 1)
client.SECONDS = {{**client.SECONDS, "ADD": {seconds!r}}}
if {lingers!r}:
    close = server.Server.close
    def lingering(self):
        open({folder!r} + "/log", "a").write(f"{{os.getpid()}} done" + chr(10))
        close(self)
    server.LINGER_SECONDS, server.Server.close = {patience}, lingering
call.local_engine = lambda note: (note(f"a note {{os.getpid()}}"), World(Slow()).engine)[1]
sys.argv = ["veth-route"]
main()
"""


class Burst:
    """Plugin processes that find each other and nobody else's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(0o700)
        self.configuration = stdin()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        number: int,
        suspicious: bool = False,
        lingers: bool = False,
        seconds: float = PATIENCE,
        **more: str,
    ) -> subprocess.Popen[bytes]:
        """`suspicious`: takes everybody for another user. `lingers`: notes that its own work is
        done, and waits for the others' however long that takes. `seconds`: waits so long for
        another's answer."""
        code = PLUGIN.format(
            path=[str(Path.cwd()), *sys.path],
            folder=str(self.folder),
            state=str(self.state),
            suspicious=suspicious,
            lingers=lingers,
            patience=PATIENCE,
            seconds=seconds,
        )
        variables = environment(CNI_CONTAINERID=f"c{number}", PATH="/usr/bin:/bin", **more)
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.append(child)
        assert child.stdin is not None
        child.stdin.write(self.configuration)
        child.stdin.close()
        child.stdin = None
        return child

    def lead(self, suspicious: bool = False, lingers: bool = False) -> subprocess.Popen[bytes]:
        """One that is at work, and listens."""
        child = self.start(0, suspicious, lingers)
        self.wait_for(1)
        return child

    def wait_for(self, lines: int) -> None:
        until = time.monotonic() + PATIENCE
        while len(self.work()) < lines:
            assert time.monotonic() < until, self.work()
            time.sleep(0.02)

    def go(self, *numbers: int) -> None:
        """These containers' addresses can be had now."""
        for number in numbers:
            (self.folder / f"go-c{number}").touch()

    def work(self) -> list[list[str]]:
        """Process and container of each call, in order."""
        log = self.folder / "log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def burst(tmp_path: Path) -> Iterator[Burst]:
    made = Burst(tmp_path)
    yield made
    for child in made.processes:
        child.kill()
        child.communicate()


def answered(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    stdout, stderr = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, (stdout, stderr)
    assert b"a note" in stderr
    document: dict[str, Any] = json.loads(stdout)
    return document


def test_the_first_does_the_calls_of_those_that_come_meanwhile(burst: Burst) -> None:
    first = burst.lead()
    others = [burst.start(number) for number in range(1, 9)]
    burst.wait_for(9)
    burst.go(*range(1, 9))
    documents = [answered(child) for child in others]
    burst.go(0)
    documents.append(answered(first))
    assert all(document["ips"] for document in documents)
    assert {pid for pid, _ in burst.work()} == {str(first.pid)}
    assert {container for _, container in burst.work()} == {f"c{number}" for number in range(9)}


def test_the_first_does_the_dels_of_others_too(burst: Burst) -> None:
    first = burst.lead()
    child = burst.start(1, CNI_COMMAND="DEL")
    stdout, stderr = child.communicate(timeout=PATIENCE)
    assert (child.returncode, stdout.strip()) == (0, b"")
    assert stderr.decode() == f"a note {first.pid}\n"


def test_if_the_first_is_killed_the_others_do_their_work_themselves(burst: Burst) -> None:
    first = burst.lead()
    others = [burst.start(number) for number in range(1, 5)]
    burst.wait_for(5)
    first.send_signal(signal.SIGKILL)
    burst.go(*range(1, 5))
    for child in others:
        answered(child)
    assert {str(child.pid) for child in others} & {pid for pid, _ in burst.work()}


def test_if_the_first_is_stopped_the_others_do_their_work_in_the_time_that_is_left(
    burst: Burst,
) -> None:
    first = burst.lead()
    first.send_signal(signal.SIGSTOP)
    other = burst.start(1, seconds=2.0)
    burst.wait_for(2)
    burst.go(1)
    answered(other)
    assert burst.work()[1:] == [[str(other.pid), "c1"]]
    assert int((burst.folder / "left-c1").read_text()) <= 58


def test_a_call_that_takes_longer_than_the_firsts_own_is_done_again(burst: Burst) -> None:
    """It has its answer, and does not keep its pod waiting for others'."""
    first = burst.lead()
    late = burst.start(1)
    burst.wait_for(2)
    burst.go(0)
    answered(first)
    burst.wait_for(3)
    burst.go(1)
    answered(late)
    assert burst.work()[1:] == [[str(first.pid), "c1"], [str(late.pid), "c1"]]


@pytest.mark.parametrize("more", [{"HTTPS_PROXY": "http://proxy:1"}, {"OS_CLOUD": "other"}])
def test_one_with_another_environment_does_its_work_itself(
    burst: Burst, more: dict[str, Any]
) -> None:
    first = burst.lead()
    other = burst.start(1, **more)
    burst.go(0, 1)
    answered(other)
    answered(first)
    assert burst.work() == [[str(first.pid), "c0"], [str(other.pid), "c1"]]


@pytest.mark.parametrize("netns", ["netns/pod", "/proc/self/ns/net", "/proc/thread-self/fd/7"])
def test_a_namespace_that_only_its_own_process_can_name_is_not_handed_over(
    burst: Burst, netns: str
) -> None:
    burst.lead()
    other = burst.start(1, CNI_NETNS=netns)
    stdout, stderr = other.communicate(timeout=PATIENCE)
    assert json.loads(stdout)["code"] == 4
    assert f"a note {other.pid}\n" in stderr.decode()


def test_one_that_is_told_to_end_when_it_is_done_gives_its_answer(burst: Burst) -> None:
    first = burst.lead(lingers=True)
    burst.start(1)
    burst.wait_for(2)
    burst.go(0)
    burst.wait_for(3)
    first.send_signal(signal.SIGTERM)
    burst.go(1)
    assert answered(first)["ips"]


def test_another_takes_the_post_while_the_first_lingers(burst: Burst) -> None:
    """It accepts no more calls, and those that come must not all do their work themselves."""
    burst.lead(lingers=True)
    burst.start(1)
    burst.wait_for(2)
    burst.go(0)
    burst.wait_for(3)
    second = None
    while second is None:  # The lock is freed a moment after the first one's work is done.
        candidate = burst.start(len(burst.processes))
        number = len(burst.processes)
        burst.wait_for(number + 1)
        later = burst.start(len(burst.processes))
        burst.wait_for(number + 2)
        if burst.work()[-1][0] == str(candidate.pid) != str(later.pid):
            second = candidate
    burst.go(*range(1, len(burst.processes)))
    assert answered(second)["ips"]


def test_the_configuration_does_not_choose_where_they_meet(burst: Burst) -> None:
    """A part of it is the pod's: a folder of a container's, say, where its own root listens."""
    evil = burst.folder / "evil"
    evil.mkdir(0o700)
    annotations = {"io.kubernetes.cri.pod-annotations": {"stateDir": str(evil)}}
    burst.configuration = stdin(runtimeConfig=annotations, ipam={"stateDir": str(evil)})
    first = burst.lead()
    burst.go(0)
    answered(first)
    assert list(evil.iterdir()) == []


def test_an_error_is_the_same_whoever_found_it(burst: Burst) -> None:
    burst.lead()
    other = burst.start(1, CNI_IFNAME="a/b")
    stdout, _ = other.communicate(timeout=PATIENCE)
    assert other.returncode == 1
    assert json.loads(stdout)["code"] == 4


@pytest.mark.parametrize("suspicious", ["the first", "the other"])
def test_another_user_is_neither_served_nor_trusted(burst: Burst, suspicious: str) -> None:
    first = burst.lead(suspicious == "the first")
    other = burst.start(1, suspicious == "the other")
    burst.go(0, 1)
    answered(other)
    answered(first)
    assert [str(other.pid), "c1"] in burst.work()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o720])
def test_nobody_is_met_where_others_could_have_put_a_socket(burst: Burst, mode: int) -> None:
    """Who listens there would get the environment, and its answer would be taken for ours."""
    burst.state.chmod(mode)
    first = burst.lead()
    other = burst.start(1)
    burst.go(0, 1)
    answered(other)
    answered(first)
    assert burst.work() == [[str(first.pid), "c0"], [str(other.pid), "c1"]]
    assert list(burst.state.iterdir()) == []


def test_a_state_folder_that_is_a_link_is_no_place_to_meet(burst: Burst) -> None:
    elsewhere = burst.folder / "elsewhere"
    burst.state.rename(elsewhere)
    burst.state.symlink_to(elsewhere)
    first = burst.lead()
    burst.go(0)
    answered(first)
    assert list(elsewhere.iterdir()) == []


def test_nobody_outside_of_the_folder_is_taken_for_one_of_us(burst: Burst) -> None:
    """An abstract name, by which a container with the node's network could answer for us, is no
    meeting place: neither looked for, nor offered."""
    before = abstract_names()
    first = burst.lead()
    assert abstract_names() <= before
    burst.go(0)
    answered(first)


def abstract_names() -> set[str]:
    lines = Path("/proc/net/unix").read_text().splitlines()
    return {line.split()[-1] for line in lines if "@" in line and "neutron" in line}


def test_the_next_one_takes_the_place_of_one_that_was_killed(burst: Burst) -> None:
    first = burst.lead()
    first.kill()
    first.wait()
    second = burst.start(1)
    burst.wait_for(2)
    third = burst.start(2)
    burst.wait_for(3)
    burst.go(1, 2)
    answered(second)
    answered(third)
    assert [pid for pid, _ in burst.work()] == [str(first.pid), str(second.pid), str(second.pid)]


@pytest.mark.parametrize("sent", [b"", b"veth-route", b"\0\0", b"\xff\0\0\0\0", b"x" * 100_000])
def test_what_is_no_call_gets_no_answer_and_harms_nobody(burst: Burst, sent: bytes) -> None:
    first = burst.lead()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(next(path for path in burst.state.iterdir() if path.is_socket())))
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    burst.go(0)
    answered(first)
