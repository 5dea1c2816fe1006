"""What differs between the mechanism drivers of Neutron that a lab can have; the rest is alike."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from neutron_cni_lab.switch import Switch

DriverName = Literal["ovn", "ovs"]
"""A mechanism driver as users write it: ML2/OVN, or ML2/OVS with the agents."""

DEFAULT: DriverName = "ovn"
"""Of a lab that nobody asked for another one."""


@dataclass(frozen=True)
class ApiSettings:
    """What Neutron's API is told of its mechanism driver."""

    default: str
    """Lines for the section ``[DEFAULT]`` of neutron.conf, the message bus among them."""

    sections: str
    """The sections of neutron.conf that are the driver's own, ``[ml2]`` among them."""

    application: str
    """The WSGI application, a module in ``api/`` and its attribute."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the API's process beyond those of every lab."""


class Driver(ABC):
    """A mechanism driver with its switch, and all programs that carry out what Neutron wants."""

    name: ClassVar[DriverName]

    title: ClassVar[str]
    """What it runs, in words."""

    programs: ClassVar[Mapping[str, str]]
    """Debian packages that no other driver needs, each with a program of it."""

    sources: ClassVar[tuple[str, ...]]
    """The modules of the lab that say what it has in databases (`Snapshot`)."""

    switch: Switch

    @property
    @abstractmethod
    def settings(self) -> ApiSettings:
        """What neutron.conf has of it."""

    @property
    @abstractmethod
    def pids(self) -> dict[str, int | None]:
        """The process of each of its parts, the switch's too, as `status` shows them; None: down"""

    @abstractmethod
    def start(self) -> None:
        """Have the switch and all else that Neutron's API asks. Harmless twice."""

    @abstractmethod
    def start_agents(self) -> None:
        """Have what asks Neutron's API, which may still be starting. Harmless twice."""

    @abstractmethod
    def stop_agents(self) -> None:
        """End what `start_agents` started."""

    @abstractmethod
    def wait_for_agents(self, cloud: Any) -> None:
        """Wait until what binds ports and makes routers does so; `cloud` is Neutron's API."""

    @abstractmethod
    def sync(self, cloud: Any) -> None:
        """Wait until the switch has all that Neutron has been told so far."""

    @abstractmethod
    def schemas(self) -> bytes:
        """What else decides what is in the databases, beside `sources`."""

    @abstractmethod
    def back_up(self, folder: Path) -> None:
        """Copy databases of its own into `folder`; Neutron is down."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Take from `folder`, for good, what `back_up` put there; nothing runs yet."""

    @abstractmethod
    def hint(self, logs: Path) -> str:
        """Where to look when a port does not become ACTIVE."""
