"""`./bench reliability`: processes of the IPAM are killed (-9) at every point; what leaks?

In each mode, processes die at each line before and after a commit of the store or a changing call
of Neutron, at lines between, as leaders of groups, while their request is under way. Life goes on,
ends, and what is left is counted. Ours must be 0. There is no peer: none of them counts.
docs/reliability.md explains the figures.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

from neutron_cni.values.ipam_config import Mode
from tests.reliability import kills
from tests.reliability.zygote import Zygote


def main(arguments: list[str]) -> None:
    """Run it and tell the figures; status 1 if anything leaked or was shared."""
    parser = argparse.ArgumentParser(prog="./bench reliability", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kills", type=int, default=900, help="in all modes together")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    tallies = []
    with Zygote() as zygote:
        for mode in Mode:
            rng = random.Random(options.seed)
            tally = kills.run(zygote, mode, rng, -(-options.kills // len(Mode)))
            print(tally, file=sys.stderr)
            for story in tally.stories:
                print(story, file=sys.stderr)
            tallies.append(tally)
    figures = _figures(tallies, time.monotonic() - begun)
    print(json.dumps(figures) if options.json else _table(tallies, figures))
    if figures["ours"] or figures["shared_or_taken"]:
        raise SystemExit(1)


def _figures(tallies: list[kills.Tally], seconds: float) -> dict[str, object]:
    return {
        "name": "reliability",
        "unit": "leaks",
        "ours": sum(len(tally.leaks) for tally in tallies),
        "shared_or_taken": sum(len(tally.wrong) for tally in tallies),
        "kills": sum(tally.kills for tally in tallies),
        "lives": sum(tally.lives for tally in tallies),
        "seconds": round(seconds, 1),
        "modes": {
            tally.mode.value: {
                "kills": tally.kills,
                "lives": tally.lives,
                "points": tally.points,
                "points_killed_at": tally.visited,
                "leaks": len(tally.leaks),
                "shared_or_taken": len(tally.wrong),
                "kills_by_act": tally.by_kind,
            }
            for tally in tallies
        },
    }


def _table(tallies: list[kills.Tally], figures: dict[str, object]) -> str:
    rows = [["mode", "kills", "lives", "points killed at", "leaks", "shared or taken"]]
    rows += [
        [
            tally.mode.value,
            str(tally.kills),
            str(tally.lives),
            f"{tally.visited} of {tally.points}",
            str(len(tally.leaks)),
            str(len(tally.wrong)),
        ]
        for tally in tallies
    ]
    total = [figures[key] for key in ("kills", "lives", "ours", "shared_or_taken")]
    rows.append(["all", str(total[0]), str(total[1]), "", str(total[2]), str(total[3])])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, f"{figures['seconds']} s"])
