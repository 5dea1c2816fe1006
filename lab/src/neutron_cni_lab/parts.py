"""What every command on a lab needs: its parts, what is written down of it, and its lock."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from neutron_cni_lab import driver, release
from neutron_cni_lab.database import Database
from neutron_cni_lab.driver import Driver, DriverName
from neutron_cni_lab.facts import locked, read_facts, write_facts
from neutron_cni_lab.neutron import Neutron
from neutron_cni_lab.nova.servers import Servers
from neutron_cni_lab.nova.service import Nova
from neutron_cni_lab.ovn import Ovn
from neutron_cni_lab.ovs import Ovs
from neutron_cni_lab.paths import Places, default_name, home
from neutron_cni_lab.progress import Progress
from neutron_cni_lab.release import ReleaseName
from neutron_cni_lab.software import Software

_DRIVERS: Mapping[DriverName, type[Ovn] | type[Ovs]] = {"ovn": Ovn, "ovs": Ovs}


class Parts:
    """The parts of the lab called `name`, up or not."""

    def __init__(self, name: str | None = None) -> None:
        self.places = Places(home(), name or default_name())
        self.software = Software(self.places.cache)
        self.database = Database(self.places)
        self._cloud: Any = None
        facts = self.facts
        driver_name = facts.get("driver", driver.DEFAULT)
        self._take(driver_name, facts.get("release", release.DEFAULT))

    def _take(self, driver_name: DriverName, release_name: ReleaseName) -> None:
        """Have the parts of a lab with that mechanism driver, of that release of Neutron."""
        self.release: ReleaseName = release_name
        self.environment = self.software.neutron(release_name)
        self.driver: Driver = _DRIVERS[driver_name](self.places, self.environment)
        self.switch = self.driver.switch
        self.neutron = Neutron(self.places, self.environment, self.driver)
        self.nova = Nova(self.places, self.software.nova, self.switch, self.database)

    @property
    def facts(self) -> dict[str, Any]:
        """What was made: ``api_port``, ``api_url`` (from the host), ``node_api_url``,
        ``project_id``, ``networks`` and ``subnets`` (name to id), ``router_id``,
        ``security_group_id``, ``far_address`` (the internet host), ``chassis``, ``driver`` (``ovn``
        or ``ovs``), ``release`` (Neutron's, ``29`` or ``21``), ``nodes``; with a Nova
        ``nova_port``, ``nova_url`` and ``node_nova_url``, the compute endpoint."""
        return read_facts(self.places.facts)

    @property
    def has_nova(self) -> bool:
        """Whether the lab was made with a Nova, up or not."""
        return "nova" in self.facts

    @property
    def servers(self) -> Servers:
        """The Nova servers that the nodes of a lab with a Nova are."""
        return Servers(self.connection())

    def connection(self) -> Any:
        """An ``openstack.connection.Connection`` to the lab's Neutron and Nova, as an admin."""
        if self._cloud is None:
            import openstack  # 0.4 s, which `lab exec` must not pay

            facts = self.facts
            url = facts["api_url"]
            more = {"compute_endpoint_override": facts["nova_url"]} if self.has_nova else {}
            self._cloud = openstack.connection.Connection(
                auth_type="none", auth={"endpoint": url}, network_endpoint_override=url, **more
            )
            # Neutron is on this machine: no $http_proxy leads there.
            self._cloud.session.session.trust_env = False
        return self._cloud

    def _change(self, **changes: Any) -> None:
        self._write({**self.facts, **changes})

    def _write(self, changed: dict[str, Any]) -> None:
        write_facts(self.places.facts, changed)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time."""
        waiting = f"waiting for another command on lab {self.places.name} ..."
        with locked(self.places.lock, lambda: Progress().note(waiting)):
            yield
