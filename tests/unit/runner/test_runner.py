"""`./test` itself: what it takes its arguments for, and what is left when it or a test is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runner import checkout, coverage, source
from tests.runner.parts import COUNTS, PARTS, Refused, choose, counts, workers

ROOT = Path(__file__).parents[3]

KEEPER = """
import sys
from pathlib import Path
from tests.runner.processes import Stopped, group, signals_stop

child = [sys.executable, "-c", {child!r}, sys.argv[1]]
try:
    with signals_stop(), group(child) as process:
        Path(sys.argv[1], "started").write_text(str(process.pid))
        process.wait()
except Stopped as stopped:
    sys.exit(stopped.status)
"""
CHILD = """
import signal, sys, time
from pathlib import Path
try:
    Path(sys.argv[1], "ready").touch()
    time.sleep(60)
finally:
    Path(sys.argv[1], "cleaned up").touch()
"""


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """A folder of tests with two parts."""
    for part in ("unit", "kernel"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "test_it.py").touch()
    return tmp_path


def test_without_words_all_parts_are_run_and_those_without_tests_are_named(tests: Path) -> None:
    choice = choose([], tests, root=True)
    assert (choice.full, choice.parts) == (False, ("unit", "kernel"))
    assert choice.empty == tuple(part for part in PARTS if part not in ("unit", "kernel"))
    assert choice.everything


def test_a_part_is_run_once_however_often_it_is_named(tests: Path) -> None:
    choice = choose(["full", "kernel", "kernel"], tests, root=True)
    assert (choice.full, choice.parts, choice.everything) == (True, ("kernel",), False)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["unti"], "no part 'unti': one of unit kernel openstack vm nova kubernetes cluster"),
        (["unit", "full"], "no part 'full'"),
        (["vm", "nova"], "nothing to run: vm, nova: there are no such tests yet"),
        (["unit", "kernel"], "the part 'kernel' makes network namespaces: run it as root"),
    ],
)
def test_what_cannot_be_run_is_refused(tests: Path, words: list[str], why: str) -> None:
    with pytest.raises(Refused, match=why):
        choose(words, tests, root=False)


def test_anybody_can_run_what_needs_no_root(tests: Path) -> None:
    assert choose(["unit"], tests, root=False).parts == ("unit",)


def test_each_part_that_has_tests_is_a_part() -> None:
    """A folder that is no part would never be run."""
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in ROOT.glob("tests/*/**/test_*")}
    assert folders <= set(PARTS)


@pytest.mark.parametrize("full", [False, True])
def test_a_count_that_is_set_already_stays(full: bool) -> None:
    variables, told = counts(full, {COUNTS[0].variable: "7"})
    assert variables[COUNTS[0].variable] == "7"
    assert variables[COUNTS[1].variable] == str(COUNTS[1].full if full else COUNTS[1].quick)
    assert told.startswith(f"{'full' if full else 'quick'}: 7 kills in a fake cloud (")


@pytest.mark.parametrize(
    ("words", "processors", "wanted"),
    [(["unit"], 1, (0, 2)), (["openstack"], 2, (2, 2)), (["unit", "openstack"], 8, (4, 4))],
)
def test_workers_follow_the_processors(
    tmp_path: Path, words: list[str], processors: int, wanted: tuple[int, int]
) -> None:
    for word in words:
        (tmp_path / word).mkdir()
        (tmp_path / word / "test_it.py").touch()
    assert workers(choose(words, tmp_path, root=True), processors) == wanted


@pytest.mark.parametrize(("words", "wanted"), [(["unit", "kernel"], False), (["vm"], True)])
def test_kubernetes_is_built_for_parts_that_need_it(
    tests: Path, words: list[str], wanted: bool
) -> None:
    (tests / "vm").mkdir()
    (tests / "vm" / "test_it.py").touch()
    assert choose(words, tests, root=True).needs_kubernetes is wanted


def test_a_second_run_in_the_checkout_is_refused_until_the_first_is_over(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with (
        checkout.only_run(file),
        pytest.raises(Refused, match="another run is under way"),
        checkout.only_run(file),
    ):
        pass
    with checkout.only_run(file):
        pass


def test_the_scratch_folder_holds_nothing_of_a_killed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout, "MEMORY", tmp_path)
    (tmp_path / "t1").mkdir()
    (tmp_path / "t1" / "left").touch()
    with checkout.scratch_folder("t1") as folder:
        assert folder == tmp_path / "t1"
        assert list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_labs_of_this_checkout_are_taken_down_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = checkout.lab_prefix(tmp_path)
    for name in (f"{prefix}0", f"{prefix}11", f"{prefix}-mine", "t000000w0", "demo"):
        (tmp_path / name).mkdir()
    program = tmp_path / "neutron-cni"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/log\n')
    program.chmod(0o755)
    monkeypatch.setenv("NEUTRON_CNI_LAB_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    checkout.labs_down(prefix)
    assert sorted((tmp_path / "log").read_text().splitlines()) == [
        f"lab down --name {prefix}0",
        f"lab down --name {prefix}11",
    ]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
    ids=lambda value: getattr(value, "name", None),
)
def test_however_the_runner_ends_the_tests_end_too(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    runner = start(tmp_path, CHILD)
    runner.send_signal(number)
    assert runner.wait(30) == status
    wait_for((tmp_path / "cleaned up").exists)


def test_tests_that_do_not_end_are_killed(tmp_path: Path) -> None:
    deaf = CHILD.replace("try:", "signal.signal(signal.SIGINT, signal.SIG_IGN)\ntry:")
    runner = start(tmp_path, deaf, "from tests.runner import processes\nprocesses.PATIENCE = 0.2\n")
    runner.terminate()
    assert runner.wait(30) == 143
    child = int((tmp_path / "started").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not (tmp_path / "cleaned up").exists()


def start(folder: Path, child: str, ahead: str = "") -> subprocess.Popen[bytes]:
    """A runner whose test is under way."""
    command = [sys.executable, "-c", ahead + KEEPER.format(child=child), str(folder)]
    runner = subprocess.Popen(command, cwd=ROOT)
    wait_for(lambda: (folder / "ready").exists() and (folder / "started").exists())
    return runner


def wait_for(happened: Callable[[], bool]) -> None:
    """Until it has happened, at most half a minute."""
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_every_failing_check_of_the_source_is_shown(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("import os\nx=1\n")
    checks = [check for check in source.CHECKS if check.name in ("format", "lint")]
    told = source.failures(checks, tmp_path)
    assert [text.partition(" ")[0] for text in told] == ["format", "lint"]
    assert "wrong.py" in told[0]
    assert "`os` imported but unused" in told[1]
    (tmp_path / "wrong.py").write_text("x = 1\n")
    assert source.failures(checks, tmp_path) == []


def test_a_check_is_left_out_where_its_configuration_is_missing(tmp_path: Path) -> None:
    (check,) = (check for check in source.CHECKS if check.name == "imports")
    assert source.failures([check], tmp_path) == []
    (tmp_path / ".importlinter").write_text("[importlinter]\nroot_package = no_such\n")
    assert len(source.failures([check], tmp_path)) == 1


def test_every_shell_script_is_checked() -> None:
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for folder in (".ci", "scripts") for path in (ROOT / folder).iterdir()]
    files += (ROOT / "lab" / "src").rglob("*.sh")
    shell = {
        str(path.relative_to(ROOT))
        for path in files
        if path.is_file() and path.read_bytes()[:40].partition(b"\n")[0].endswith(b"sh")
    }
    assert shell == set(source.SCRIPTS)


def test_coverage_is_told_by_room(tmp_path: Path) -> None:
    package = tmp_path / "src" / coverage.PACKAGE
    (package / "cni").mkdir(parents=True)
    for folder in (package, package / "cni"):
        (folder / "__init__.py").touch()
    (package / "engine.py").write_text("a = 1\nif not a:\n    a = 2\n    a = 3\n")
    (package / "cni" / "codec.py").write_text("a = 1\n")
    data = tmp_path / "data"
    subprocess.run(
        [sys.executable, "-m", "coverage", "run", "--source=src", str(package / "engine.py")],
        cwd=tmp_path,
        env={**os.environ, "COVERAGE_FILE": str(data)},
        check=True,
    )
    told = coverage.line(data)
    assert told.startswith("coverage: 40 % of the lines of neutron_cni ")
    assert told.endswith("(cni 0, engine 50)")


def test_a_run_that_measured_nothing_says_so(tmp_path: Path) -> None:
    assert coverage.line(tmp_path / "data").startswith("coverage: nothing was measured: ")
