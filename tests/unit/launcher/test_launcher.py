"""The launcher: what goes to standard output, standard error and the exit status."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from neutron_cni.cli import node_files
from neutron_cni.hosts.call import Answer, Terminated, run
from neutron_cni.hosts.streams import INPUT_LIMIT
from neutron_cni.values.errors import CniError, Code
from tests.support.cni_doubles import World, environment, stdin


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    list(node_files.install_launchers(tmp_path / "bin"))
    return tmp_path / "bin"


def error(answer: Answer) -> dict[str, Any]:
    assert answer.status != 0
    document = json.loads(answer.stdout)
    assert set(document) <= {"cniVersion", "code", "msg", "details"}
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_add_answers_in_the_version_of_the_configuration(world: World, version: str) -> None:
    answer = run("veth-route", environment(), stdin(cniVersion=version), world.engine)
    document = json.loads(answer.stdout)
    assert (answer.status, document["cniVersion"]) == (0, version)
    assert ("version" in document["ips"][0]) == (version < "1.0.0")


def test_del_answers_nothing(world: World) -> None:
    assert run("veth-route", environment("DEL"), stdin(), world.engine) == Answer(0)


def test_an_error_is_in_the_version_of_the_configuration(world: World) -> None:
    answer = run("veth-route", environment(CNI_IFNAME="a/b"), stdin(cniVersion="0.4.0"))
    assert error(answer)["cniVersion"] == "0.4.0"


ONE_BY_ONE: dict[str, tuple[dict[str, str], bytes, int, str]] = {
    "malformed JSON": ({}, b'{"name":', 6, "not valid JSON"),
    "missing name": ({}, stdin(name=None), 7, "name: is missing"),
    "missing ipam": ({}, stdin(ipam=None), 7, "ipam: is missing"),
    "unknown mode": ({}, stdin(ipam={"mode": "magic"}), 7, "ipam.mode: 'magic'"),
    "wrong CIDR": ({}, stdin(runtimeConfig={"ips": ["10.0.0.1/64"]}), 7, "10.0.0.1/64"),
    "bad container id": ({"CNI_CONTAINERID": "../x"}, stdin(), 4, "CNI_CONTAINERID: '../x'"),
    "long interface name": ({"CNI_IFNAME": "a" * 16}, stdin(), 4, "CNI_IFNAME"),
    "slash in interface name": ({"CNI_IFNAME": "a/b"}, stdin(), 4, "CNI_IFNAME: 'a/b'"),
    "space in interface name": ({"CNI_IFNAME": "a b"}, stdin(), 4, "CNI_IFNAME: 'a b'"),
    "no such namespace": ({"CNI_NETNS": "/gone"}, stdin(), 4, "CNI_NETNS"),
    "interface there": ({"CNI_IFNAME": "taken"}, stdin(), 103, "taken exists"),
    "old version": ({}, stdin(cniVersion="0.2.0"), 1, "0.2.0"),
    "too much input": ({}, b" " * (INPUT_LIMIT + 1), 5, "standard input"),
}


@pytest.mark.parametrize("case", ONE_BY_ONE)
def test_a_bad_input_names_its_cause_and_changes_nothing(world: World, case: str) -> None:
    changes, data, code, sentence = ONE_BY_ONE[case]
    world.kernel.links["taken"] = "another"
    document = error(run("veth-route", environment(**changes), data, world.engine))
    assert document["code"] == code
    assert sentence in document["msg"]
    assert world.changes == []


@pytest.mark.parametrize(
    "reason",
    [
        CniError(Code.TRY_AGAIN, "Neutron at http://10.0.0.1:9696 can't be reached"),
        CniError(Code.CREDENTIALS, "Keystone refuses the credentials of cloud lab"),
        CniError(Code.EXHAUSTED, "subnet pods has no free address"),
        CniError(Code.PORT_NOT_FOUND, "no port of this VM has MAC fa:16:3e:00:00:01"),
        CniError(Code.PORT_NOT_FOUND, "two ports match 10.0.0.5"),
    ],
)
def test_what_ipam_says_reaches_the_runtime_and_nothing_stays(
    world: World, reason: CniError
) -> None:
    world.ipam.fail["acquire"] = reason
    document = error(run("veth-route", environment(), stdin(), world.engine))
    assert (document["code"], document["msg"]) == (reason.code, reason.message)
    assert world.state == ({}, {})


def test_a_defect_is_code_999_and_its_trace_goes_to_the_log(world: World, tmp_path: Path) -> None:
    world.kernel.fail["attach"] = ZeroDivisionError("by zero")
    data = stdin(ipam={"stateDir": str(tmp_path / "state")})
    answer = run("veth-route", environment(), data, world.engine)
    document = error(answer)
    assert document["code"] == Code.UNEXPECTED
    assert document["msg"] == "unexpected error: ZeroDivisionError: by zero"
    log = tmp_path / "state" / "plugin.log"
    assert str(log) in document["details"]
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    assert b"Traceback" not in answer.stdout
    assert answer.stderr == ""


def test_without_a_place_for_the_log_the_trace_goes_to_standard_error(world: World) -> None:
    world.kernel.fail["attach"] = ZeroDivisionError("by zero")
    answer = run(
        "veth-route", environment(), stdin(ipam={"stateDir": "/proc/nowhere"}), world.engine
    )
    assert "Traceback" in answer.stderr
    assert "standard error" in error(answer)["details"]


def test_the_log_does_not_grow_for_ever(world: World, tmp_path: Path) -> None:
    world.kernel.fail["attach"] = ZeroDivisionError("by zero")
    log = tmp_path / "plugin.log"
    log.write_bytes(b"x" * (5 << 20))
    run("veth-route", environment(), stdin(ipam={"stateDir": str(tmp_path)}), world.engine)
    assert log.stat().st_size < 100_000
    assert (tmp_path / "plugin.log.1").stat().st_size == 5 << 20


def test_a_signal_undoes_add_and_still_answers(world: World) -> None:
    world.kernel.fail["attach"] = Terminated()
    answer = run("veth-route", environment(), stdin(), world.engine)
    assert error(answer)["code"] == Code.TRY_AGAIN
    assert answer.status == 128 + signal.SIGTERM
    assert world.state == ({}, {})


def test_a_name_that_is_no_plugin_is_refused(world: World) -> None:
    assert "veth-rout'" in error(run("veth-rout", environment(), stdin(), world.engine))["msg"]


# From here on the real programs, as a runtime executes them.


def execute(
    path: Path, variables: dict[str, str], data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([path], env=variables, input=data, capture_output=True, timeout=120)


def test_version_is_answered_by_both_programs(bin_dir: Path) -> None:
    for name in ("veth-route", "cni-ipam-neutron"):
        done = execute(bin_dir / name, {"CNI_COMMAND": "VERSION"}, b'{"cniVersion":"1.0.0"}')
        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads(done.stdout)["cniVersion"] == "1.0.0"


def test_version_imports_nothing_that_is_slow(bin_dir: Path) -> None:
    code = (
        f"import sys; sys.argv = ['veth-route']; sys.path += {sys.path!r}\n"
        "from neutron_cni.launcher import main; main()\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code],
        env={"CNI_COMMAND": "VERSION"},
        input=b"",
        capture_output=True,
    )
    for slow in ("msgspec", "json", "re", "dataclasses", "typing", "pyroute2", "openstack"):
        assert f"'{slow}'".encode() not in done.stderr


def test_an_error_is_all_that_standard_output_has(bin_dir: Path) -> None:
    done = execute(bin_dir / "veth-route", environment(CNI_IFNAME="a/b"), stdin())
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == 4
    assert done.stderr == b""


@pytest.mark.parametrize("redirection", ["<&-", "0>/dev/null"])
def test_input_that_can_not_be_read_is_code_5(bin_dir: Path, redirection: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {bin_dir}/veth-route {redirection}"],
        env=environment(),
        capture_output=True,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == 5
    assert done.stderr == b""


def test_no_command_is_an_error_for_a_runtime(bin_dir: Path) -> None:
    done = execute(bin_dir / "veth-route", {})
    assert done.returncode == 1
    assert "CNI_COMMAND" in json.loads(done.stdout)["msg"]


def test_no_command_on_a_terminal_says_what_this_is(bin_dir: Path) -> None:
    terminal, inside = pty.openpty()
    done = subprocess.run(
        [bin_dir / "veth-route"], env={}, stdin=inside, capture_output=True, timeout=120
    )
    os.close(terminal)
    os.close(inside)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"CNI plugin" in done.stderr
    assert b"0.3.1, 0.4.0, 1.0.0, 1.1.0" in done.stderr


def test_a_runtime_that_gives_up_gets_an_answer(bin_dir: Path, tmp_path: Path) -> None:
    """SIGTERM while the IPAM plugin hangs: it is killed, and DEL is tried."""
    plugin = tmp_path / "slow-ipam"
    plugin.write_text(
        f"#!/bin/sh\necho $CNI_COMMAND >> {tmp_path}/log\n[ $CNI_COMMAND != ADD ] || sleep 600\n"
    )
    plugin.chmod(0o755)
    code = (
        f"import sys; sys.path[:0] = {[str(Path.cwd()), *sys.path]!r}\n"
        "from neutron_cni.hosts import call\n"
        "from tests.support.cni_doubles import World\n"
        "call.local_engine = lambda note: World().engine\n"
        "call.serve('veth-route', open(0, 'rb').read(), None)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(CNI_PATH=str(tmp_path), PATH="/bin:/usr/bin"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        child.stdin.write(stdin(ipam={"type": "slow-ipam"}))
        child.stdin.close()
        give_up = time.monotonic() + 120
        while not (tmp_path / "log").exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        child.terminate()
        assert child.stdout is not None
        answer = json.loads(child.stdout.read())
    assert answer["code"] == Code.TRY_AGAIN
    assert child.returncode == 128 + signal.SIGTERM
    assert (tmp_path / "log").read_text().split() == ["ADD", "DEL"]


@pytest.mark.parametrize("closed", ["0", "1", "2", "1 2", "0 1 2"])
def test_a_descriptor_that_the_caller_closed_is_taken_by_nothing_else(
    bin_dir: Path, tmp_path: Path, closed: str
) -> None:
    """With a state folder, so that the call opens a socket before anything else."""
    state = tmp_path / "state"
    state.mkdir(0o700)
    redirections = " ".join(
        f"{number}{'<' if number == '0' else '>'}&-" for number in closed.split()
    )
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" {redirections}', str(bin_dir / "veth-route")],
        env=environment(CNI_IFNAME="a/b"),
        input=stdin(ipam={"stateDir": str(state)}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    if "1" not in closed:
        code = Code.IO_FAILURE if closed == "0" else Code.INVALID_ENVIRONMENT
        assert json.loads(done.stdout)["code"] == code


@pytest.mark.parametrize("files", [5, 6, 7, 8, 10])
def test_a_process_that_may_open_few_files_still_gives_an_answer(
    bin_dir: Path, tmp_path: Path, files: int
) -> None:
    """By its own code where that can be imported, else by the launcher's last words."""
    state = tmp_path / "state"
    state.mkdir(0o700)
    done = subprocess.run(
        ["/bin/sh", "-c", f'ulimit -n {files}; exec "$0"', str(bin_dir / "veth-route")],
        env=environment(CNI_NETNS="/nonexistent"),
        input=stdin(ipam={"stateDir": str(state)}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] in (Code.IO_FAILURE, Code.INVALID_ENVIRONMENT)


def test_an_answer_that_nobody_can_take_is_a_sentence_and_no_trace(bin_dir: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [bin_dir / "veth-route"],
            env=environment(CNI_NETNS="/nonexistent"),
            input=stdin(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"the answer could not be written: No space left on device\n"


def test_version_is_answered_though_its_input_can_not_be_read(bin_dir: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" 0>{bin_dir}/written', str(bin_dir / "veth-route")],
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["cniVersion"] == "1.1.0"
