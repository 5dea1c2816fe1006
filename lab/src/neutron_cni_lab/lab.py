"""`Lab`: bring it up, take it down, and get at its parts."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from neutron_cni_lab import driver as drivers
from neutron_cni_lab import folders, namespaces, topology
from neutron_cni_lab import release as releases
from neutron_cni_lab.driver import DriverName
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.facts import locked, ports_of_others
from neutron_cni_lab.kernel import load_dummy
from neutron_cni_lab.neutron import API_PORT, PROJECT_ID, free_port
from neutron_cni_lab.node import Kernel
from neutron_cni_lab.nodes import Nodes
from neutron_cni_lab.nova.configuration import NODE_URL
from neutron_cni_lab.processes import all_of, end
from neutron_cni_lab.progress import Progress
from neutron_cni_lab.release import ReleaseName
from neutron_cni_lab.snapshot import Snapshot
from neutron_cni_lab.switch import API_ADDRESS, FAR_ADDRESS


class Lab(Nodes):
    """The lab called `name`, up or not. Everything it makes is found again by that name alone."""

    @classmethod
    def open(cls, name: str | None = None) -> Self:
        """The lab called `name`, which must be up (`LabError` otherwise)."""
        lab = cls(name)
        if not lab.facts.get("up"):
            raise LabError(
                f"lab {lab.places.name!r} is not up",
                f"`neutron-cni lab up --name {lab.places.name}`",
            )
        return lab

    def up(
        self,
        progress: Progress | None = None,
        nodes: tuple[str, ...] = ("node1", "node2"),
        kernel: Kernel | None = None,
        nova: bool = False,
        driver: DriverName | None = None,
        release: ReleaseName | None = None,
    ) -> None:
        """Have all of it running with `nodes`; starts what is missing, repairs what has died.

        A node that was stopped by `stop_node` stays so. `kernel` is whose kernel `nodes` have; when
        it is None, those that are there keep theirs, and new ones share the host's. With `nova` the
        lab has a Nova from now on, and every VM is a server. `driver` is Neutron's mechanism
        driver, `release` that of Neutron; when they are None, a lab that is there keeps its own,
        and a new one has ML2/OVN and the newest.
        """
        progress = progress or Progress(quiet=True)
        self._take(*self._wanted(driver, release))
        self.software.check(self.driver)
        self.software.have(self.environment, progress)
        if nova or self.has_nova:
            self.software.have(self.software.nova, progress)
        if kernel == "own":
            self.software.kernel.check()
        with self._locked():
            self._take(*self._wanted(driver, release))
            self._check_same_software()
            folders.finish_removal(self.places.folder)
            if self.facts.get("ending"):  # a `down` was killed: what still runs may be about to end
                self._stop()
            load_dummy()
            with locked(self.places.home / "ports.lock"):
                self._base_facts(nova or self.has_nova)
            snapshot = self._restore()
            self._start_services(progress)
            with progress.step("networks, router, security group"):
                self.driver.wait_for_agents(self.connection())
                self._change(**topology.ensure(self.connection()))
            if snapshot:
                self._save(snapshot, progress)
            if self.has_nova:
                self.servers.prepare()
            known = self.facts["nodes"]
            self._check_kernels(nodes, kernel)
            stopped = {name for name in known if known[name].get("stopped")}
            wanted = [name for name in dict.fromkeys([*known, *nodes]) if name not in stopped]
            with progress.step(f"nodes {', '.join(wanted)}"):
                for name in wanted:
                    self._note_node(name, kernel=kernel or "shared")
                self._ensure_servers(wanted)
                with ThreadPoolExecutor() as pool:
                    for node in [pool.submit(self._run_node, name) for name in wanted]:
                        node.result()
                self.driver.sync(self.connection())
            self._change(up=True)

    def down(self, progress: Progress | None = None, keep_logs: bool = False) -> None:
        """End every process, remove every namespace, mount and file of the lab. Harmless twice.

        With `keep_logs` its logs become `Places.kept_logs`, in the place of earlier ones.
        """
        progress = progress or Progress(quiet=True)
        with self._locked(), progress.step(f"remove lab {self.places.name}"):
            if self.facts:
                self._change(up=False, ending=True)
            self._stop()
            namespaces.clean_up(self.places)
            if keep_logs and self.places.logs.exists():
                folders.remove(self.places.kept_logs)
                self.places.logs.rename(self.places.kept_logs)
            folders.remove(self.places.folder)
        self._cloud = None

    def stop_neutron(self) -> None:
        """End the API: connections are refused from then on."""
        self.neutron.stop()

    def start_neutron(self) -> None:
        """Serve the API again, at the same addresses."""
        self.neutron.start(self.facts["api_port"])

    def stop_database(self) -> None:
        """End MariaDB: the API hangs from then on.

        Neutron tries again 20 times, up to 10 s apart, before it answers 500 (MAX_RETRIES in
        neutron_lib.db.api, which no setting changes): nearly three minutes.
        """
        self.database.stop()

    def start_database(self) -> None:
        """Start MariaDB again, with the same data."""
        self.database.start()

    def _stop(self) -> None:
        names = namespaces.listed(self.places)
        inodes = [number for name in names if (number := namespaces.inode(name)) is not None]
        # A second look finds what was being started during the first. Little patience, as what they
        # would save is about to be removed, or outlives kill -9 (where `up` goes on with it).
        for _ in range(2):
            end(all_of(self.places.folder, inodes), patience=0.2)
        for name in names:
            namespaces.remove(name)

    def _restore(self) -> Snapshot | None:
        """Give a new lab a copy of databases; where they are to be kept then, if there was none."""
        is_new = not self.places.database.exists()
        parts = (self.places, self.driver, self.environment)
        snapshot = plain = Snapshot(*parts)
        if self.has_nova:
            snapshot = Snapshot(*parts, self.software.nova)
        for each in (snapshot, plain):  # of which only the first that is there is taken
            each.restore()
        return snapshot if is_new and not snapshot.exists else None

    def _base_facts(self, nova: bool) -> None:
        facts = self.facts
        port = facts.get("api_port")
        if port is None or self.neutron.pid is None:
            self.neutron.stop()  # one that nobody can reach would keep the port
            port = free_port(taken=ports_of_others(self.places), first=port)
        base = {
            "name": self.places.name,
            "api_port": port,
            "api_url": f"http://127.0.0.1:{port}",
            "node_api_url": f"http://{API_ADDRESS}:{API_PORT}",
            "project_id": PROJECT_ID,
            "far_address": FAR_ADDRESS,
            "chassis": self.switch.chassis,
            "driver": self.driver.name,
            "release": self.release,
            "neutron": self.environment.name,
            "ending": False,
        }
        if nova:
            base.update(self._nova_facts(taken={port, *ports_of_others(self.places)}))
        self._write({"nodes": {}, "up": False, **facts, **base})
        self._cloud = None

    def _nova_facts(self, taken: set[int]) -> dict[str, Any]:
        port = self.facts.get("nova_port")
        if port is None or self.nova.pid is None:
            self.nova.stop()
            port = free_port(taken, first=port)
        return {
            "nova": self.software.nova.name,
            "nova_port": port,
            "nova_url": f"http://127.0.0.1:{port}/v2.1",
            "node_nova_url": NODE_URL,
        }

    def _start_services(self, progress: Progress) -> None:
        self.neutron.configure(self.database.url, NODE_URL if self.has_nova else "")
        with ThreadPoolExecutor() as pool:
            jobs = [
                pool.submit(self._start_database, progress),
                pool.submit(self._start_switch, progress),
            ]
            for job in jobs:
                job.result()
        with ThreadPoolExecutor() as pool:
            jobs = [
                pool.submit(self._start_neutron, progress),
                pool.submit(self.driver.start_agents),
            ]
            if self.has_nova:
                jobs.append(pool.submit(self._start_nova, progress))
            for job in jobs:
                job.result()

    def _start_neutron(self, progress: Progress) -> None:
        with progress.step("Neutron"):
            self.neutron.start(self.facts["api_port"])

    def _start_nova(self, progress: Progress) -> None:
        with progress.step("Nova and Placement with their tables"):
            self.nova.configure()
            self.nova.start()

    def _save(self, snapshot: Snapshot, progress: Progress) -> None:
        with progress.step("a copy of the databases, for the next lab"):
            self.driver.stop_agents()
            self.neutron.stop()
            self.nova.stop()
            self.database.stop()
            snapshot.save()
        self._start_services(progress)
        self.driver.wait_for_agents(self.connection())

    def _wanted(
        self, driver: DriverName | None, release: ReleaseName | None
    ) -> tuple[DriverName, ReleaseName]:
        """The lab's; of a new lab what was asked for. `LabError` if these differ."""
        facts = self.facts
        if not facts:
            new = driver or drivers.DEFAULT, release or releases.DEFAULT
            releases.check(*new)
            return new
        has = facts.get("driver", drivers.DEFAULT), facts.get("release", releases.DEFAULT)
        asked = driver or has[0], release or has[1]
        for what, one, other in zip(("the driver", "Neutron"), has, asked, strict=True):
            if one != other:
                down = f"`neutron-cni lab down --name {self.places.name}`"
                raise LabError(
                    f"lab {self.places.name!r} has {what} {one}, not {other}",
                    f"{down} first, or take another name.",
                )
        return asked

    def _check_same_software(self) -> None:
        for part, folder in (("neutron", self.environment), ("nova", self.software.nova)):
            if self.facts.get(part, folder.name) != folder.name:
                down = f"`neutron-cni lab down --name {self.places.name}`"
                raise LabError(
                    f"lab {self.places.name!r} has a {part.title()} that is not this checkout's",
                    f"{down} first: it is then made anew.",
                )

    def _check_kernels(self, nodes: tuple[str, ...], kernel: Kernel | None) -> None:
        for name in nodes:
            if kernel and name in self.facts["nodes"] and self.node(name).kernel != kernel:
                raise LabError(
                    f"there is a node {name!r}, {self.node(name).description}",
                    f"`neutron-cni lab node rm {name}` first, or leave the kind of nodes out.",
                )

    def _start_database(self, progress: Progress) -> None:
        with progress.step("MariaDB with Neutron's tables"):
            self.database.start()
            self.database.migrate(self.environment, self.neutron.configuration)

    def _start_switch(self, progress: Progress) -> None:
        with progress.step(self.driver.title):
            self.driver.start()
