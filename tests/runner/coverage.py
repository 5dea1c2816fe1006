"""Which lines of the product ran in the tests' own processes, as one line for the summary.

A plugin that a test executes as a runtime does is another process and is not measured, so this is
less than what the tests see of the code. It costs processor time (CONTRIBUTING.md says how much),
so only a run of everything measures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

PACKAGE = "neutron_cni"
OPTIONS = (f"--cov={PACKAGE}", "--cov-report=")
"""For pytest: pytest-cov gathers what all workers saw."""


def line(data: Path) -> str:
    """What to print of the data that a run left."""
    report = data.with_suffix(".json")
    done = subprocess.run(
        [sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(report)],
        env={**os.environ, "COVERAGE_FILE": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return f"coverage: nothing was measured: {(done.stdout + done.stderr).strip()}"
    lines: Counter[str] = Counter()
    covered: Counter[str] = Counter()
    for file, found in json.loads(report.read_text())["files"].items():
        room = _room(Path(file))
        lines[room] += found["summary"]["num_statements"]
        covered[room] += found["summary"]["covered_lines"]
    rooms = ", ".join(
        f"{room} {100 * covered[room] // lines[room]}"
        for room in sorted(lines)
        if lines[room] and room != "__init__"
    )
    total = 100 * covered.total() // max(1, lines.total())
    return f"coverage: {total} % of the lines of {PACKAGE} in the tests' own processes ({rooms})"


def _room(file: Path) -> str:
    """The package right below ours, or the module there."""
    _, _, inside = file.as_posix().rpartition(f"/{PACKAGE}/")
    return Path(inside.partition("/")[0]).stem
