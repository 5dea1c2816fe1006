"""How a benchmark tells its figures: one JSON object, or a few lines for people."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def tell(
    name: str, unit: str, ours: float, peer: float, as_json: bool, more: Mapping[str, Any]
) -> None:
    """Print the figures of one run. `ratio` is ours/peer: of seconds, below 1 we need less."""
    ratio = ours / peer if peer else None
    figures = {"name": name, "unit": unit, "ours": ours, "peer": peer, "ratio": ratio, **more}
    if as_json:
        print(json.dumps(figures))
        return
    for key, value in figures.items():
        print(f"{key:>16}  {f'{value:.4g}' if isinstance(value, float) else value}")
