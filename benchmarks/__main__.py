"""`./bench NAME [--json]`: finds the benchmark's module by its name."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

NOT_BENCHMARKS = {"__init__", "__main__", "report", "scene", "one_by_one"}


def names() -> list[str]:
    """What can be measured."""
    modules = {path.stem for path in Path(__file__).parent.glob("*.py")} - NOT_BENCHMARKS
    return sorted(name.replace("_", "-") for name in modules)


def run(arguments: list[str]) -> None:
    """Run the benchmark named first."""
    if not arguments or arguments[0] not in names():
        raise SystemExit(f"usage: ./bench NAME [--json], NAME one of: {', '.join(names())}")
    import_module(f"benchmarks.{arguments[0].replace('-', '_')}").main(arguments[1:])


if __name__ == "__main__":
    run(sys.argv[1:])
