"""A node whose STATUS is asked for over hours, and what may be wrong with its cloud."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml

from neutron_cni.ipam import absence
from neutron_cni.ipam.status import status
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.fakes import FakeKeystone, Fault
from tests.fakes.faults import FOREVER
from tests.fakes.keystone import SECRET
from tests.reliability.scene import Host, Scene

PAUSE = absence.pause
"""The real one, which other tests do without."""
ALL_MODES = pytest.mark.parametrize("mode", list(Mode))


@dataclass
class Clock:
    """The machine's clocks, which stand still until a test moves them."""

    now: float = 5000.0

    def as_module(self) -> Any:
        return SimpleNamespace(
            time=lambda: 1_700_000_000 + self.now,
            clock_gettime=lambda which: self.now,
            CLOCK_BOOTTIME=time.CLOCK_BOOTTIME,
            sleep=time.sleep,
        )


@dataclass
class Place:
    """A node, its cloud with a Keystone, and its clock."""

    scene: Scene
    host: Host
    keystone: FakeKeystone
    clock: Clock = field(default_factory=Clock)

    def section(self, mode: Mode = Mode.FIXED_IPS, **more: Any) -> dict[str, Any]:
        clouds = {"cloud": "c", "cloudsFile": str(self.host.folder / "clouds.yaml")}
        return self.host.config(mode, **clouds, **more)

    def config(self, mode: Mode = Mode.FIXED_IPS, **more: Any) -> IpamConfig:
        return msgspec.convert(self.section(mode, **more), IpamConfig)

    def write_clouds(self, secret: str = SECRET) -> None:
        names = ("project_name", "user_domain_name", "project_domain_name")
        auth = {"auth_url": f"{self.keystone.url}/v3", "username": "u", "password": secret}
        cloud = {"auth": auth | dict.fromkeys(names, "x")}
        (self.host.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"c": cloud}}))

    def ask(self, config: IpamConfig | None = None) -> list[str]:
        """What STATUS notes where it says yes. Raises CniError where it says no."""
        return status(config or self.config(), Deadline.after(10))

    def refused(self, config: IpamConfig | None = None) -> str:
        """What STATUS says where it says no."""
        with pytest.raises(CniError) as caught:
            self.ask(config)
        assert caught.value.code == Code.PLUGIN_NOT_AVAILABLE
        return str(caught.value)

    def calls(self) -> tuple[int, int]:
        """How often Neutron and Keystone were asked."""
        return self.scene.neutron.calls.total(), self.keystone.calls


def away(place: Place) -> None:
    place.scene.neutron.stop()


def limited(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=429, times=FOREVER, retry_after="30"))


def failing(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=503, times=FOREVER))


def behind_a_gateway(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=404, times=FOREVER))
    place.scene.neutron.faults.add(Fault(status=404, times=FOREVER, body="<html>no</html>"))


def in_another_shape(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=200, times=FOREVER, body='{"ports": {}}'))


def without_keystone(place: Place) -> None:
    place.scene.neutron.token = "another"
    place.keystone.status = 503


def refused_by_a_gateway(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=403, times=FOREVER, body="<html>no</html>"))


TROUBLES = [
    away,
    limited,
    failing,
    in_another_shape,
    without_keystone,
    refused_by_a_gateway,
]
