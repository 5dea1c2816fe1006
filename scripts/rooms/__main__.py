"""Draws the rooms of `neutron_cni` and who imports whom into ARCHITECTURE.md.

    .venv/bin/python scripts/rooms [--check]

The floors are those of `.importlinter`, whose contract `./test` holds the code to; the arrows are
what the code imports (grimp, which import-linter is built on). With `--check` nothing is written:
status 1 when the picture is not what the code says.
"""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- rooms: drawn by scripts/rooms -->\n", "<!-- rooms: end -->\n"
PACKAGE = "neutron_cni"


def floors() -> list[list[str]]:
    """The rooms on each floor, top to bottom, as the import contract has them."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    lines = contracts["importlinter:contract:floors"]["layers"].split("\n")
    return [[room.strip() for room in line.split("|")] for line in lines if line.strip()]


def arrows() -> dict[str, set[str]]:
    """For each room those that it imports from, itself left out."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            here, there = _room(module), _room(imported)
            if here and there and here != there:
                found.setdefault(here, set()).add(there)
    return found


def _room(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def picture() -> str:
    """The drawing, and below it the same in full as a table."""
    known = arrows()
    return f"{_drawing(known)}\n{_table(known)}"


def _drawing(known: dict[str, set[str]]) -> str:
    """A Mermaid flow chart. Left out are the arrows that a longer way tells already."""
    lines = ["```mermaid", "flowchart TD"]
    for number, floor in enumerate(reversed(floors())):
        rooms = "; ".join(sorted(floor))
        lines.append(f'  subgraph floor{number} ["{number}"]; direction LR; {rooms}; end')
    for room in sorted(known):
        implied = set().union(*(_reached(item, known) for item in known[room]))
        lines += [f"  {room} --> {item}" for item in sorted(known[room] - implied)]
    return "\n".join([*lines, "```", ""])


def _reached(room: str, known: dict[str, set[str]]) -> set[str]:
    """Every room that is reached from this one, itself left out."""
    direct = known.get(room, set())
    return direct.union(*(_reached(item, known) for item in direct))


def _table(known: dict[str, set[str]]) -> str:
    order = [room for floor in floors() for room in floor]
    rows = ["| floor | room | imports from |", "|---|---|---|"]
    storeys = floors()
    for number, floor in enumerate(storeys):
        for position, room in enumerate(sorted(floor)):
            below = sorted(known.get(room, ()), key=order.index)
            level = str(len(storeys) - 1 - number) if position == 0 else ""
            imports = ", ".join(f"`{item}`" for item in below) or "nothing"
            rows.append(f"| {level} | `{room}` | {imports} |")
    return "\n".join(rows) + "\n"


def main(check: bool) -> int:
    """Write the picture, or say that it is stale; the exit status."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}{picture()}{END}{after}"
    if wanted == text:
        return 0
    if check:
        print("stale: the rooms in ARCHITECTURE.md (run: .venv/bin/python scripts/rooms)")
        return 1
    PAGE.write_text(wanted)
    print("drew the rooms in ARCHITECTURE.md")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
