"""What Neutron does, as tests: run against the fake (`tests/unit`) and the real one of the lab.

A test that passes on both says that the fake may stand in for the real one there.
"""

import pytest

for _name in [
    "addresses",
    "backend",
    "calls",
    "floating",
    "listing",
    "overlap",
    "pairs",
    "ports",
    "tags",
]:
    pytest.register_assert_rewrite(f"{__name__}.{_name}")
