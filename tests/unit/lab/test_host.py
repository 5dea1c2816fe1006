"""What the lab decides about its host, how it removes a folder, and what it tells of errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from keystoneauth1.exceptions import ConnectFailure
from openstack.exceptions import SDKException
from typer.testing import CliRunner

from neutron_cni_lab import LabError, folders
from neutron_cni_lab.cli import Commands
from neutron_cni_lab.daemons import PART, come_backs, is_watched, processes
from neutron_cni_lab.kernel import dummy_is_unloaded
from neutron_cni_lab.paths import MARKER, Places, name_for_checkout
from neutron_cni_lab.processes import wait_until

MODULES = """\
kernel/drivers/net/dummy.ko.xz:
kernel/drivers/net/veth.ko.xz: kernel/net/core/other.ko.xz
"""


@pytest.mark.parametrize(
    ("modules_dep", "loaded", "unloaded"),
    [
        (MODULES, False, True),
        (MODULES.replace(".xz", ""), False, True),
        (MODULES, True, False),
        ("", False, False),  # built in, or there is none
        ("kernel/drivers/net/dummy_other.ko: kernel/drivers/net/dummy.ko\n", False, False),
    ],
)
def test_dummy_is_loaded_first_only_where_it_is_a_module_and_is_not_loaded(
    modules_dep: str, loaded: bool, unloaded: bool
) -> None:
    assert dummy_is_unloaded(modules_dep, loaded) is unloaded


def test_a_folder_is_gone_and_so_is_what_a_killed_removal_left(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    for half in (folder, tmp_path / "lab.removed"):
        (half / "db" / "data").mkdir(parents=True)
    folders.remove(folder)
    assert list(tmp_path.iterdir()) == []
    folders.remove(folder)


def test_a_folder_that_stays_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab").mkdir()

    def busy(path: Path) -> None:
        raise OSError(16, "Device or resource busy", str(path))

    monkeypatch.setattr("shutil.rmtree", busy)
    with pytest.raises(LabError, match=r"can.t remove .*lab\.removed"):
        folders.remove(tmp_path / "lab")


def test_waiting_for_what_has_died_ends_at_once() -> None:
    with pytest.raises(LabError, match="MariaDB ended while it was starting"):
        wait_until(lambda: False, "MariaDB", 60, "See its log.", processes=list)


def test_the_name_of_a_checkouts_own_lab_can_be_a_labs_name() -> None:
    assert Places(Path("/h"), name_for_checkout("selftest")).name.startswith("selftest")


MONITORS_LOG = """\
2026-05-01T09:59:59.101Z|00001|vlog|INFO|opened log file ovs-vswitchd.log
2026-05-01T10:00:00.999Z|00005|daemon_unix(monitor)|ERR|1 crashes: pid 7 died, killed (Aborted), \
restarting
2026-05-01T10:00:03.001Z|00006|daemon_unix(monitor)|WARN|2 crashes: pid 8 died, killed (Aborted), \
waiting until 10 seconds since last restart
2026-05-01T10:00:10.002Z|00007|daemon_unix(monitor)|ERR|2 crashes: pid 8 died, killed (Aborted), \
core dumped, restarting
2026-05-01T10:00:11.000Z|00008|daemon_unix(monitor)|INFO|pid 9 died, killed (Terminated), exiting
2026-05-01T10:00:12.000Z|00009|bridge|ERR|something else, restarting
"""


def test_a_daemon_that_came_back_is_known_by_its_monitors_log(tmp_path: Path) -> None:
    log = tmp_path / "ovs-vswitchd.log"
    assert come_backs(log) == (0, "")
    log.write_text(MONITORS_LOG)
    assert come_backs(log) == (2, "2026-05-01T10:00:10")


def test_a_daemon_and_its_monitor_are_found_by_their_environment_alone(tmp_path: Path) -> None:
    """The monitor calls itself something else, and either may have been killed."""
    lab = {MARKER: str(tmp_path)}
    code = "import sys, subprocess; subprocess.Popen(['sleep', '600']); print(flush=True); input()"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, env={**lab, PART: "ovn-nb"}, stdin=-1, stdout=-1) as monitor:
        assert monitor.stdout is not None
        monitor.stdout.readline()
        (daemon,) = _children_of(monitor.pid, tmp_path)
        try:
            assert monitor.pid in processes(tmp_path, "ovn-nb")
            assert is_watched(daemon, tmp_path, "ovn-nb")
            assert processes(tmp_path, "ovn-sb") == processes(tmp_path / "other", "ovn-nb") == set()
            monitor.kill()
            monitor.wait()
            assert processes(tmp_path, "ovn-nb") == {daemon}
            assert not is_watched(daemon, tmp_path, "ovn-nb")
        finally:
            os.kill(daemon, signal.SIGKILL)


def _children_of(monitor: int, folder: Path) -> set[int]:
    """Once there are any: a process shows no environment for a moment while it is started."""
    until = time.monotonic() + 60
    while not (found := processes(folder, "ovn-nb") - {monitor}):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LabError("no lab", "Make one."), "no lab\n  Make one."),
        (OSError(28, "No space left on device"), "No space left on device"),
        (SDKException("409: conflict"), "Neutron: 409: conflict\n"),
        (ConnectFailure("no route"), "Neutron: no route\n"),
    ],
)
def test_what_can_go_wrong_is_a_sentence(error: Exception, said: str) -> None:
    app = typer.Typer(cls=Commands)

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None:
        """Two commands make a group."""

    done = CliRunner().invoke(app, ["fail"])
    assert done.exit_code == 1
    assert said in done.output
