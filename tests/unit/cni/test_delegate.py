"""Another's IPAM plugin as a process: a small shell script stands in for it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar

import pytest

from neutron_cni.cni.delegate import delegate, delegate_add
from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import Invocation
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

ANSWER = '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5/16","gateway":"10.1.0.1"}]}'


PATIENCE = 120.0
"""Seconds that nothing here takes, however busy the machine is."""


class Script:
    """An IPAM plugin `fake-ipam` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "fake-ipam"

    def does(self, body: str) -> None:
        self.path.write_text(f"#!/bin/sh\ncd {self.folder}\n{body}\n")
        self.path.chmod(0o755)

    def add(self, stdin: bytes = b"{}", deadline: Deadline | None = None) -> object:
        call = Invocation({"CNI_COMMAND": "ADD", "A": "b", "PATH": os.environ["PATH"]}, stdin)
        path = ["/nowhere", str(self.folder)]
        return delegate_add("fake-ipam", path, call, deadline or Deadline.after(PATIENCE))

    def error(self, deadline: Deadline | None = None) -> CniError:
        with pytest.raises(CniError) as caught:
            self.add(deadline=deadline)
        return caught.value


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_it_gets_the_same_environment_and_input(script: Script) -> None:
    script.does(f"env > env; cat > input; echo '{ANSWER}'")
    big = b'{"x": "' + b"y" * 300_000 + b'"}'
    script.add(stdin=big)
    variables = (script.folder / "env").read_text().splitlines()
    assert "CNI_COMMAND=ADD" in variables
    assert "A=b" in variables
    assert (script.folder / "input").read_bytes() == big


def test_its_result_is_read(script: Script) -> None:
    script.does(f"echo '{ANSWER}'")
    assert "10.1.0.5/16" in str(script.add())


def test_other_commands_need_no_answer(script: Script) -> None:
    script.does("echo $CNI_COMMAND > said")
    call = Invocation({"CNI_COMMAND": "ADD"}, b"{}")
    delegate(Command.DEL, "fake-ipam", [str(script.folder)], call, Deadline.after(PATIENCE))
    assert (script.folder / "said").read_text() == "DEL\n"


def test_its_error_is_passed_on_with_its_code(script: Script) -> None:
    script.does("""echo '{"code": 11, "msg": "come back", "details": "full"}'; exit 1""")
    error = script.error()
    assert (error.code, error.details) == (11, "full")
    assert error.message == "the plugin fake-ipam refuses ADD: come back"


@pytest.mark.parametrize(
    "body",
    [
        "exit 1",
        "echo nonsense; exit 1",
        "echo '{}'; exit 3",
        """echo '{"code": "7", "msg": "x"}'; exit 1""",
        """echo '{"code": 0, "msg": "x"}'; exit 1""",
        """echo '{"code": true, "msg": "x"}'; exit 1""",
        "kill -9 $$",
        "exit 0",
        "echo nonsense",
        "echo '[]'",
        """echo '{"ips": [{"address": "10.0.0.300/8"}]}'""",
        "head -c 3000000 /dev/zero",
    ],
)
def test_garbage_is_an_error_of_ours_that_names_the_plugin(script: Script, body: str) -> None:
    script.does(body)
    error = script.error()
    assert error.code == Code.DELEGATE
    assert "fake-ipam" in error.message


class WhenItHangs(Deadline):
    """Passes when a file is there, by no clock."""

    file: ClassVar[Path]

    @property
    def left(self) -> float:
        """A moment, after which somebody looks again; 0 at the end."""
        return 0.0 if self.file.exists() else 0.05


@pytest.mark.parametrize("body", ["sleep 600", "sleep 600 & echo '{}'", "exec >&-; sleep 600"])
def test_one_that_hangs_is_killed_with_what_it_started(
    script: Script, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its deadline: it would hang for longer than `ended` waits."""
    script.does(f"echo $$ > new; mv new pid; {body}")
    monkeypatch.setattr(WhenItHangs, "file", script.folder / "pid", raising=False)
    error = script.error(WhenItHangs(0.0))
    assert error.code == Code.TRY_AGAIN
    assert ended(int((script.folder / "pid").read_text()))


def ended(group: int) -> bool:
    """Whether the process group ends; a killed orphan stays a zombie until init has seen it."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_one_that_is_missing_is_named_with_the_folders(script: Script) -> None:
    error = script.error()
    assert error.code == Code.PLUGIN_NOT_AVAILABLE
    assert "fake-ipam" in error.message
    assert str(script.folder) in error.details


def test_without_cni_path_the_variable_is_named() -> None:
    with pytest.raises(CniError, match="CNI_PATH") as caught:
        delegate_add("fake-ipam", [], Invocation({}, b"{}"), Deadline.after(1))
    assert caught.value.code == Code.INVALID_ENVIRONMENT


def test_one_that_can_not_be_started(script: Script) -> None:
    script.path.write_text("#!/nowhere/sh\n")
    script.path.chmod(0o755)
    assert script.error().code == Code.DELEGATE
