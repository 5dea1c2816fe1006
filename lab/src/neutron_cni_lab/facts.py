"""What is written down about a lab, and the locks under which it is changed."""

import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from neutron_cni_lab.paths import Places


@contextlib.contextmanager
def locked(path: Path, when_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`; the lock goes with its process, so a kill -9 leaves none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            when_waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_facts(path: Path) -> dict[str, Any]:
    """The facts in the file `path`; none when there is no such file, or it was cut off."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Replace the file `path`, at once: readers see the old facts or the new ones."""
    new = path.with_suffix(".new")
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_text(json.dumps(facts, indent=2) + "\n")
    new.replace(path)


def ports_of_others(places: Places) -> set[int]:
    """The APIs' ports of all other labs, also of those that are down at the moment."""
    others = (read_facts(path) for path in places.home.glob(f"*/{places.facts.name}"))
    return {
        facts[port]
        for facts in others
        for port in ("api_port", "nova_port")
        if port in facts and facts.get("name") != places.name
    }
