"""Checks of the source, for ./test and for pre-commit: `python -m tests.runner.source [NAME]...`.

Each looks at the whole repository, which takes a second or two once its cache is filled. All are
done, also after one that failed; only what failed is shown.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = (
    *("test", "demo", "bench", ".ci/run", "scripts/setup", "scripts/lock"),
    *(f"lab/src/neutron_cni_lab/uml/{name}.sh" for name in ("init", "main")),
)
"""Every shell script; a test compares this with what is in the repository."""


@dataclass(frozen=True)
class Check:
    """`command` begins with a program of the environment; without its `needs` it is left out."""

    name: str
    command: tuple[str, ...]
    needs: str | None = None


CHECKS = (
    Check("format", ("ruff", "format", "--check", "--quiet", ".")),
    Check("lint", ("ruff", "check", "--quiet", ".")),
    Check("types", ("mypy", "--no-error-summary")),
    Check("shell", ("shellcheck", *SCRIPTS)),
    Check("imports", ("lint-imports", "--no-cache"), needs=".importlinter"),
)


def failures(checks: Sequence[Check], root: Path = ROOT) -> list[str]:
    """What each failing check said."""
    found = []
    for check in checks:
        if check.needs and not (root / check.needs).exists():
            continue
        program = str(Path(sys.executable).with_name(check.command[0]))
        done = subprocess.run(
            [program, *check.command[1:]],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            found.append(f"{check.name} ({' '.join(check.command)}):\n{done.stdout}")
    return found


def main(names: Sequence[str]) -> int:
    """Do the checks of those names, or all; the exit status."""
    unknown = set(names) - {check.name for check in CHECKS}
    if unknown:
        print(f"no check {', '.join(sorted(unknown))}: one of", *(check.name for check in CHECKS))
        return 2
    found = failures([check for check in CHECKS if not names or check.name in names])
    print(*found, sep="\n", end="")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
