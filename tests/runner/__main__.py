"""`./test [full] [PART]...`: formatting, lint, types and tests, several at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.runner import checkout, coverage, parts
from tests.runner.passes import Pass, passes
from tests.runner.processes import Stopped, group, signals_stop

ROOT = Path(__file__).parents[2]


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for; the exit status."""
    parser = argparse.ArgumentParser(prog="./test", description=__doc__)
    parser.add_argument(
        "word",
        nargs="*",
        help=f"{parts.FULL} (repeat more often what is tried at random), and which parts to run: "
        f"{', '.join(parts.PARTS)}; without one, all",
    )
    words = parser.parse_args(arguments).word
    try:
        choice = parts.choose(words, ROOT / "tests")
        for part in choice.empty:
            print(f"{part}: there are no such tests yet", flush=True)
        with checkout.only_run(ROOT / ".venv" / ".test-lock") as lock, signals_stop():
            return run(choice, lock)
    except parts.Refused as refused:
        return fail(str(refused))
    except Stopped as stopped:
        print(f"./test: ended by {stopped.name}", file=sys.stderr)
        return stopped.status


def run(choice: parts.Choice, lock: int) -> int:
    """The tests, with the checks of the source beside them; the exit status."""
    prefix = checkout.lab_prefix(ROOT)
    variables, told = parts.counts(choice.full, os.environ)
    labs, others = parts.workers(choice, len(os.sched_getaffinity(0)))
    with checkout.no_labs_left(prefix), checkout.scratch_folder(prefix) as scratch:
        print(told, flush=True)
        environ = {
            **{name: value for name, value in os.environ.items() if name != "NEUTRON_CNI_LAB_NAME"},
            **variables,
            "NEUTRON_CNI_TEST_LAB_PREFIX": prefix,
            "NEUTRON_CNI_TEST_LABS": str(labs),
            "TMPDIR": str(scratch),
            "COVERAGE_FILE": str(scratch / "coverage"),
        }
        options = [
            "--max-worker-restart=0",
            # The shortest there can be: a socket's path may have 107 characters.
            f"--basetemp={scratch / 'p'}",
        ]
        source_log = scratch / "source.log"
        with (
            source_log.open("wb") as log,
            group([sys.executable, "-m", "tests.runner.source"], output=log) as checks,
            programs(choice, scratch),
        ):
            status = 0
            for one in passes(choice, labs, others):
                status = call(one, options, environ, lock) or status
            if choice.everything:
                print(coverage.line(scratch / "coverage"), flush=True)
            if checks.wait() != 0:
                print(source_log.read_text(errors="replace"), flush=True)
                return fail("the source: see above")
    return status


def call(one: Pass, options: Sequence[str], environ: Mapping[str, str], lock: int) -> int:
    """pytest's exit status."""
    if one.title:
        print(f"\n{one.title}:", flush=True)
    command = [sys.executable, "-m", "pytest", "-n", str(one.workers), *options, *one.words]
    mine = {**environ, "NEUTRON_CNI_TEST_DRIVER": one.driver}
    with group(command, mine, keep_open=[lock]) as tests:
        return tests.wait()


@contextmanager
def programs(choice: parts.Choice, scratch: Path) -> Iterator[None]:
    """Kubernetes' are built beside the tests, if they must be: that takes minutes the first time.

    The tests that need them wait for it, and say what went wrong with it.
    """
    if not choice.needs_kubernetes:
        yield
        return
    build = [sys.executable, "-m", "neutron_cni_lab", "install", "--kubernetes"]
    with (scratch / "kubernetes.log").open("wb") as log, group(build, output=log):
        yield


def fail(why: str) -> int:
    """Say why; the exit status."""
    print(f"./test: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
