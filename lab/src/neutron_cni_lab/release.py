"""The releases of Neutron that a lab can have: the newest we know, and one that is years old."""

from collections.abc import Mapping
from typing import Literal

from neutron_cni_lab.driver import DriverName
from neutron_cni_lab.errors import LabError

ReleaseName = Literal["29", "21"]
"""A release by its major version. 21 is Zed, of October 2022."""

DEFAULT: ReleaseName = "29"
"""Of a lab that nobody asked for another one."""

ENVIRONMENTS: Mapping[ReleaseName, str] = {"29": "neutron", "21": "neutron21"}
"""What is installed for each: the name of its lock, and of its folder in the cache.

What runs in these environments (``api/``) is the same, and finds out by itself where it is.
"""


def check(driver: DriverName, release: ReleaseName) -> None:
    """`LabError` where the lab can't have that driver of that release."""
    if (driver, release) == ("ovs", "21"):
        raise LabError(
            "a lab with Neutron 21 has ML2/OVN only: its agents for ML2/OVS are for green threads",
            "Leave `--driver` out, or `--neutron`.",
        )
