"""The kernel tests that need what only the VMs' kernel has (`unavailable.IN_VM`), run there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from neutron_cni_lab import Node
from tests.unavailable import IN_VM

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.name
    for path in (ROOT / "tests" / "kernel").glob("test_*.py")
    if re.search("|".join(f'needs."{name}"' for name in IN_VM), path.read_text())
)


@pytest.mark.parametrize("name", FILES)
def test_what_only_this_kernel_has_works(vm2: Node, name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "needs"]
    done = vm2.exec(
        ["env", "-C", ROOT, "PYTHONDONTWRITEBYTECODE=1", *command, f"tests/kernel/{name}"],
        check=False,
        timeout=900,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    assert passed
    assert int(passed[1]) > 1
