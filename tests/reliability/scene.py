"""A fake cloud, the nodes in it, and rivals who edit the nodes' ports."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Lock
from types import SimpleNamespace, TracebackType
from typing import Any, Self
from uuid import uuid4

from neutron_cni.ipam.claim import claims_in
from neutron_cni.ipam.modes import MODES
from neutron_cni.store import Record, Store, giving_back
from neutron_cni.store import boot as boot_module
from neutron_cni.store import database as database_module
from neutron_cni.store import store as store_module
from neutron_cni.values.address import IPAddress
from neutron_cni.values.ipam_config import Mode
from tests.fakes import FakeNeutron, api, nova
from tests.fakes.refusals import Refusal
from tests.reliability.jobs import Job, replace
from tests.reliability.namespaces import Namespaces
from tests.reliability.under_way import UnderWay

REAL_BOOT_ID = store_module.BOOT_ID
_one_at_a_time = Lock()
_READ_THE_CLOCK = (store_module, giving_back, database_module, boot_module)

RESERVES = "neutron-cni:pod"
"""`device_owner` of the ports that reserve addresses."""
NIC = "neutron-cni: NIC"
"""What the descriptions of the ports of pods' NICs begin with, whoever has them."""


DONE_MEANWHILE = 0.3
"""How probable it is that Nova has done what it accepted when the next request comes."""


class WatchedNeutron(FakeNeutron):
    """Lets a test act just before a request is served."""

    before: Callable[[api.Request], None] | None = None
    under_way: UnderWay | None = None

    def start(self) -> None:
        """Quiet about clients that died while they were served: here they do so all the time."""
        setattr(self._server, "handle_error", _say_nothing)  # noqa: B010 - a method
        super().start()

    def serve(self, request: api.Request) -> api.Reply:
        """See `FakeNeutron.serve`. What Nova accepted it does at some later request."""
        with self.cloud.lock:
            if self.cloud.later and self.cloud.random.random() < DONE_MEANWHILE:
                self.cloud.later.pop(0)()
        if self.before is not None:
            self.before(request)
        if self.under_way is not None and self.under_way.is_it(request):
            with self.under_way.held():
                return super().serve(request)
        return super().serve(request)


class Scene:
    """One network in a fake cloud, served over HTTP. Use as a context manager."""

    def __init__(
        self, folder: Path, cidrs: tuple[str, ...] = ("10.9.0.0/26",), seed: int = 0
    ) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.neutron = WatchedNeutron(seed=seed)
        self.clock = time.time()
        """What the nodes' clocks say. They stand still unless `pass_time` moves them."""
        self.network_id = self.call("POST", "/networks", {"network": {"name": "pods"}})["network"][
            "id"
        ]
        for cidr in cidrs:
            subnet = {
                "network_id": self.network_id,
                "cidr": cidr,
                "ip_version": ip_network(cidr).version,
                "name": cidr,
                "enable_dhcp": False,
            }
            self.call("POST", "/subnets", {"subnet": subnet})

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.neutron.start()
        self.clouds_file = self.neutron.write_clouds_yaml(self.folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.neutron.stop()

    def call(
        self, method: str, path: str, body: Any = None, revision: int | None = None
    ) -> dict[str, Any]:
        """A call of the API that no fault touches. Raises Refusal."""
        request = api.Request(method, path, {}, body, revision)
        return api.answer(self.neutron.cloud, request)[1] or {}

    def port(self, port_id: str) -> dict[str, Any]:
        """A port as the API shows it."""
        found: dict[str, Any] = self.call("GET", f"/ports/{port_id}")["port"]
        return found

    def reserves(self) -> list[dict[str, Any]]:
        """The ports that reserve addresses for pods."""
        ports = self.call("GET", "/ports")["ports"]
        return [
            port
            for port in ports
            if port["device_owner"] == RESERVES or port["description"].startswith(NIC)
        ]

    def new_port(self, **attributes: Any) -> str:
        """The id of a new port on the network."""
        body = {"port": {"network_id": self.network_id, **attributes}}
        return str(self.call("POST", "/ports", body)["port"]["id"])

    def free(self) -> list[IPAddress]:
        """Every IPv4 address that a port could be given now."""
        found: list[IPAddress] = []
        for subnet in self.neutron.cloud.tables["subnets"].values():
            if subnet["ip_version"] == 4:
                taken = self.neutron.cloud.in_use[subnet["id"]]
                for pool in subnet["allocation_pools"]:
                    first, last = int(ip_address(pool["start"])), int(ip_address(pool["end"]))
                    addresses = [ip_address(number) for number in range(first, last + 1)]
                    found += [item for item in addresses if str(item) not in taken]
        return found

    @property
    def under_way(self) -> UnderWay | None:
        """The request whose sender is killed, or was."""
        return self.neutron.under_way

    @under_way.setter
    def under_way(self, request: UnderWay) -> None:
        if self.neutron.under_way is not None:
            self.neutron.under_way.arrive()
        self.neutron.under_way = request

    def pass_time(self, seconds: float) -> None:
        """The nodes' clocks go on."""
        self.clock += seconds


class Host:
    """A node: its VM port, its folders, its kernel. `name` also tells its installation."""

    def __init__(
        self, scene: Scene, name: str, port_id: str = "", namespaces: Namespaces | None = None
    ) -> None:
        self.scene = scene
        self.name = name
        self.folder = scene.folder / name
        self.folder.mkdir(parents=True)
        self.server = nova.new_server(scene.neutron.cloud)
        self.server.slow = True
        """What the VM is to Nova."""
        attached = {"device_owner": nova.OWNER, "device_id": self.server.id}
        self.port_id = port_id or scene.new_port(name=name, **attached)
        self.own = set(addresses_on(scene.port(self.port_id)))
        """The VM's own addresses."""
        self.namespaces = namespaces or Namespaces(self.folder / "netns")
        self.boot_id = self.folder / "boot_id"
        self.conf_dir = self.folder / "net.d"
        self.conf_dir.mkdir()
        self.boot_id.write_text(f"{uuid4()}\n")

    @property
    def state_dir(self) -> Path:
        """Where its store is."""
        return self.folder / "state"

    @property
    def store_file(self) -> Path:
        """The store's database."""
        return self.state_dir / "store.db"

    def config(self, mode: Mode, **more: Any) -> dict[str, Any]:
        """An ipam section for this node."""
        own: dict[str, Any] = {}
        if MODES[mode].needs_network:
            own["network"] = self.scene.network_id
        if mode is not Mode.PORT:
            own |= {"portLookup": "id", "portId": self.port_id}
        return {
            "type": "cni-ipam-neutron",
            "mode": mode.value,
            "cloud": "fake",
            "cloudsFile": str(self.scene.clouds_file),
            "stateDir": str(self.state_dir),
            "node": self.name,
            **own,
            **more,
        }

    def install(self, config: dict[str, Any], network: str = "net") -> None:
        """Write the network's configuration, for `neutron-cni gc`."""
        document = {"cniVersion": "1.1.0", "name": network, "type": "veth-route", "ipam": config}
        (self.conf_dir / f"{network}.conf").write_text(json.dumps(document))

    def job(self, kind: str, config: dict[str, Any], container: str = "", **more: Any) -> Job:
        """A job on this node."""
        return Job(
            kind=kind,
            config=config,
            container=container,
            namespaces=str(self.namespaces.folder),
            boot_id=str(self.boot_id),
            conf_dir=str(self.conf_dir),
            clock=self.scene.clock,
            seed=self.scene.random.getrandbits(32),
            **more,
        )

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Its store, opened by this process as if it ran on the node."""
        with _one_at_a_time:
            clock = SimpleNamespace(time=lambda: self.scene.clock)
            replace(store_module, "BOOT_ID", self.boot_id)
            for module in _READ_THE_CLOCK:
                replace(module, "time", clock)
            try:
                with Store(str(self.state_dir)) as store:
                    yield store
            finally:
                for module in _READ_THE_CLOCK:
                    replace(module, "time", time)
                replace(store_module, "BOOT_ID", REAL_BOOT_ID)

    def records(self) -> list[Record]:
        """Every row of its store."""
        if not self.store_file.exists():
            return []
        with self.store() as store:
            return store.all()

    def held(self) -> dict[str, set[IPAddress]] | None:
        """Container to addresses, as a look from outside shows them; None if it shows nothing."""
        found: dict[str, set[IPAddress]] = {}
        try:
            with closing(sqlite3.connect(f"file:{self.store_file}?mode=ro", uri=True)) as database:
                rows = database.execute(
                    "SELECT container_id, address FROM lease JOIN address ON lease_id = id"
                    " WHERE state = 'held'"
                ).fetchall()
        except sqlite3.Error:
            return None
        for container, address in rows:
            found.setdefault(container, set()).add(ip_address(address))
        return found

    def lose_store(self) -> None:
        """Somebody deletes it."""
        for path in self.state_dir.glob("store.db*"):
            path.unlink()

    def reboot(self) -> None:
        """Nothing runs any more; /run is empty, the state folder is as it was."""
        self.boot_id.write_text(f"{uuid4()}\n")
        self.namespaces.remove_all()


class Rival:
    """Somebody else who edits a port: reads it, and writes it with one entry more or less.

    `addresses`, `pairs` and `tags` are what is his: they must stay as he left them.
    """

    def __init__(self, scene: Scene, port_id: str, rng: random.Random) -> None:
        self.scene = scene
        self.port_id = port_id
        self.addresses: set[IPAddress] = set()
        self.pairs: set[str] = set()
        self.tags: set[str] = set()
        self._random = rng

    def add_address(self, address: IPAddress | None = None) -> IPAddress | None:
        """One more, by default any that is free and not claimed. None: there was none."""
        port = self.scene.port(self.port_id)
        if address is None:
            claimed = {claim.address for claim in claims_in(port["tags"])}
            free = [item for item in self.scene.free() if item not in claimed]
            if not free:
                return None
            address = self._random.choice(free)
        entries = [*port["fixed_ips"], {"ip_address": str(address)}]
        try:
            self._put({"fixed_ips": entries})
        except Refusal:
            return None
        self.addresses.add(address)
        return address

    def remove_address(self) -> None:
        """One of his, if he has any."""
        if not self.addresses:
            return
        address = self._random.choice(sorted(self.addresses, key=str))
        entries = self.scene.port(self.port_id)["fixed_ips"]
        self._put({"fixed_ips": [e for e in entries if e["ip_address"] != str(address)]})
        self.addresses.discard(address)

    def add_pair(self, address: str) -> None:
        """An allowed address pair of his own, such as a keepalived VIP, if there is room."""
        pairs = self.scene.port(self.port_id)["allowed_address_pairs"]
        with suppress(Refusal):
            self._put({"allowed_address_pairs": [*pairs, {"ip_address": address}]})
            self.pairs.add(address)

    def remove_pair(self) -> None:
        """One of his, if he has any."""
        if not self.pairs:
            return
        address = self._random.choice(sorted(self.pairs))
        pairs = self.scene.port(self.port_id)["allowed_address_pairs"]
        kept = [pair for pair in pairs if pair["ip_address"] != address]
        self._put({"allowed_address_pairs": kept})
        self.pairs.discard(address)

    def add_tag(self, tag: str) -> None:
        """A tag of his own."""
        self.scene.call("POST", f"/ports/{self.port_id}/tags", {"tags": [tag]})
        self.tags.add(tag)

    def edit(self) -> None:
        """Something that only changes the revision."""
        self.scene.neutron.cloud.rival_edit(self.port_id)

    def _put(self, attributes: dict[str, Any]) -> None:
        with self.scene.neutron.cloud.lock:
            self.scene.call("PUT", f"/ports/{self.port_id}", {"port": attributes})


def _say_nothing(request: Any, client_address: Any) -> None:
    """In the place of `socketserver.BaseServer.handle_error`."""


def addresses_on(port: dict[str, Any]) -> list[IPAddress]:
    """Its fixed IPs."""
    return [ip_address(item["ip_address"]) for item in port["fixed_ips"]]


def pairs_on(port: dict[str, Any]) -> list[str]:
    """The addresses of its allowed address pairs."""
    return [item["ip_address"] for item in port["allowed_address_pairs"]]
