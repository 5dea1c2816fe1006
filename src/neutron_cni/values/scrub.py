"""Secrets out of every sentence: what a process knows to be secret, and texts without it.

Whoever reads credentials says here what must never be shown (`conceal`); every error of the cloud
and every trace passes through `scrub` on its way out. One list per process, as a burst does several
calls at once and none of them may tell another's secrets.
"""

from __future__ import annotations

import re
from _thread import allocate_lock
from collections.abc import Mapping

SHORT = 4
"""A secret with fewer characters is only taken out where it stands alone: else no word is left."""

_one_at_a_time = allocate_lock()
_concealed: dict[str, str] = {}
_ready: tuple[dict[str, str], re.Pattern[str]] | None = None
"""What `_concealed` was when its pattern was made: only once something has to be scrubbed."""


def conceal(secrets: Mapping[str, str]) -> None:
    """From now on every key of `secrets` is replaced by its value."""
    global _concealed
    more = {secret: instead for secret, instead in secrets.items() if secret.strip()}
    with _one_at_a_time:
        if not more.keys() <= _concealed.keys():
            _concealed = more | _concealed  # A new mapping: another thread may be reading this one.


def scrub(text: str) -> str:
    """`text` without any secret that is known."""
    known = _concealed
    if not known:
        return text
    return _pattern_of(known).sub(lambda found: known.get(found.group(), found.group()), text)


def _pattern_of(known: dict[str, str]) -> re.Pattern[str]:
    global _ready
    ready = _ready
    if ready is None or ready[0] is not known:
        longest_first = sorted(known, key=len, reverse=True)
        # What was put in place of one is left alone: a text may come here twice.
        marks = map(re.escape, sorted(set(known.values())))
        ready = known, re.compile("|".join([*marks, *map(_as_pattern, longest_first)]))
        _ready = ready
    return ready[1]


def _as_pattern(secret: str) -> str:
    escaped = re.escape(secret)
    return escaped if len(secret) >= SHORT else rf"(?<!\w){escaped}(?!\w)"
