"""How the demo prints, without a lab."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from neutron_cni_lab import LabError
from neutron_cni_lab.cli import demo
from neutron_cni_lab.demo.rows import Rows


def printed(capsys: pytest.CaptureFixture[str], text: str, *, ok: bool = True) -> list[str]:
    rows = Rows(["floating IP, in"], ["internet -> pod1"])
    rows.header()
    rows.result("floating IP, in", "internet -> pod1", ok, text, 1.25)
    return capsys.readouterr().out.splitlines()


def test_a_row_shows_check_path_result_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    heading, ruler, row = printed(capsys, "10.0.0.1 it is")
    assert heading.split() == ["check", "from", "->", "to", "result", "time"]
    assert set(ruler) == {"-", " "}
    assert row.split("  ") == [
        *("floating IP, in", "internet -> pod1", "ok", " 10.0.0.1 it is"),
        *[""] * (len(row.split("  ")) - 5),
        row.split("  ")[-1],
    ]
    assert row.endswith("1.2 s")


def test_long_results_are_wrapped_within_100_columns_and_nothing_is_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "[bold]expected[/] 10.10.0.5, " + " ".join(f"word{number}" for number in range(40))
    lines = printed(capsys, text, ok=False)[2:]
    assert len(lines) > 3
    assert all(len(line) <= 100 and line == line.rstrip() for line in lines)
    words = " ".join(" ".join(lines).split())
    assert "FAIL [bold]expected[/] 10.10.0.5" in words
    assert all(f"word{number}" in words for number in range(40))


def test_what_is_printed_is_plain_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """So that it reads the same in a log, through a pipe and in any locale."""
    assert "\n".join(printed(capsys, "all of it")).isascii()


def test_a_word_that_is_no_demo_ends_it_before_anything_is_installed() -> None:
    program = Path(__file__).parents[3] / "demo"
    done = subprocess.run([program, "sriov"], capture_output=True, text=True, check=False, env={})
    assert (done.returncode, done.stdout) == (1, "")
    assert "no demo 'sriov'" in done.stderr
    assert "./demo ipvlan, ./demo nic" in done.stderr


def test_so_does_the_command_line() -> None:
    with pytest.raises(LabError, match="no demo 'sriov'") as caught:
        demo("sriov")
    assert "`ipvlan`" in caught.value.hint
