"""What the lab's hypervisor does wrong when a test orders it: written by tests, read by Nova.

Nova's environment imports this too: the standard library is all it has.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "faults.json"


@dataclass(frozen=True)
class Faults:
    """All of the orders; none is in force unless it is given."""

    attach_fails: bool = False
    """The hypervisor refuses the NIC: attach is answered 500, and nothing is done."""
    attach_answer_lost: bool = False
    """The NIC is attached, and yet attach is answered 500."""
    attach_seconds: float = 0.0
    """The hypervisor takes so long, or until the order is taken back."""
    nic_missing: bool = False
    """Attach is answered 200, the port is bound, and the node never gets the NIC."""
    detach_fails: bool = False
    """The hypervisor keeps the NIC: detach is answered 202, its action ends in Error."""
    detach_seconds: float = 0.0
    """As `attach_seconds`."""


def read(folder: Path) -> Faults:
    """The orders in force in the Nova with this folder."""
    try:
        return Faults(**json.loads((folder / FILE).read_text()))
    except FileNotFoundError:
        return Faults()


@contextmanager
def ordered(folder: Path, faults: Faults) -> Iterator[None]:
    """Have `faults` in force during the block, in the place of any others."""
    file = folder / FILE
    new = file.with_suffix(".new")
    new.write_text(json.dumps(asdict(faults)))
    new.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
