"""Stand-ins for clouds, for faults that a real one can't be made to show.

`FakeNeutron` is checked against a real Neutron 29 with the same tests (`tests/contract`).
"""

from __future__ import annotations

from tests.fakes.faults import Fault
from tests.fakes.keystone import FakeKeystone
from tests.fakes.server import FakeNeutron

__all__ = ["FakeKeystone", "FakeNeutron", "Fault"]
