"""A node's life as its runtime drives it: containers come and go, processes die, things fail.

Every method is one thing that happens; it keeps the books, and `wrong` collects what must never be.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from neutron_cni.store.giving_back import LATE_ANSWER_SECONDS
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import Code
from neutron_cni.values.ipam_config import Mode
from tests.fakes.api import Request
from tests.reliability import invariants
from tests.reliability.jobs import Job, Outcome
from tests.reliability.scene import Host, Rival, Scene
from tests.reliability.under_way import UnderWay
from tests.reliability.zygote import Zygote

QUARANTINE = 30.0
PATIENT_SWEEPS = 12


class Life:
    """One node in a fake cloud, with a rival on its port. `warm`: NICs kept for pods to come."""

    def __init__(
        self, scene: Scene, zygote: Zygote, mode: Mode, rng: random.Random, warm: int = 0
    ) -> None:
        self.scene = scene
        self.mode = mode
        self.rng = rng
        self.host = Host(scene, "node")
        self.rival = Rival(scene, self.host.port_id, rng)
        self._without_warm = self.host.config(mode, quarantine=QUARANTINE)
        self.config = {**self._without_warm, "warmNICs": warm} if warm else self._without_warm
        self.host.install(self.config)
        self.live: dict[tuple[str, str], list[IPAddress]] = {}
        self.pending: dict[str, str] = {}
        """Containers whose ADD failed ("add") or whose DEL did not succeed yet ("del")."""
        self.resting: dict[IPAddress, float] = {}
        self.wrong: list[str] = []
        self.story: list[str] = []
        self.kills = 0
        self.store_lost = False
        self.uncollected = False
        """Whether something was lost that only GC can find."""
        self.happened = False
        """Whether what `at` waits for has come."""
        self._zygote = zygote
        self._rest = 0.0 if mode is Mode.NOVA_INTERFACE else QUARANTINE
        self.number = 0

    @property
    def now(self) -> float:
        """By the node's clock."""
        return self.scene.clock

    @property
    def containers(self) -> list[str]:
        """Those that live."""
        return [container for _, container in self.live]

    def new_container(self) -> str:
        """A runtime made one, with its namespace; nothing was asked of us yet."""
        self.number += 1
        name = f"c{self.number}"
        self.host.namespaces.make(name)
        return name

    def job(self, kind: str, container: str = "", **more: Any) -> Job:
        """A job with this life's configuration."""
        return self.host.job(kind, self.config, container, **more)

    def run(self, *jobs: Job) -> list[Outcome]:
        """Run them together and keep the books of each."""
        before = self.now
        for job in jobs:
            if job.kind == "del":
                self._leaves(job.container)
        outcomes = self._zygote.run(*jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            self.kills += outcome.killed
            self._tell(job, outcome)
            if job.kind == "add":
                self._added(job, outcome, before)
            elif job.kind == "del" and outcome.ok:
                self.pending.pop(job.container, None)
                self.host.namespaces.remove(job.container)
        self.look()
        return outcomes

    def add(self, container: str = "", **more: Any) -> Outcome:
        """ADD, by default of a new container."""
        return self.run(self.job("add", container or self.new_container(), **more))[0]

    def delete(self, container: str, **more: Any) -> Outcome:
        """DEL; the container counts as dead from its beginning."""
        return self.run(self.job("del", container, **more))[0]

    def collect(self, **more: Any) -> Outcome:
        """GC as a runtime does it: everything but what lives may go."""
        for container in self.pending:
            self.host.namespaces.remove(container)
            self.pending[container] = "del"
        outcome = self.run(self.job("gc", keep=self.containers, **more))[0]
        if outcome.ok:
            self.pending.clear()
        return outcome

    def sweep(self, **more: Any) -> Outcome:
        """The sweeper works until it would have to wait."""
        return self.run(self.job("sweep", **more))[0]

    def check(self, container: str) -> Outcome:
        """CHECK."""
        return self.run(self.job("check", container))[0]

    def reconcile(self, **more: Any) -> Outcome:
        """`neutron-cni gc --apply`."""
        return self.run(self.job("reconcile", **more))[0]

    def reboot(self) -> None:
        """Everything that lived is dead; the runtime forgets what it had begun."""
        self.story.append("reboot")
        self.host.reboot()
        for container in self.containers:
            self._leaves(container)
        self.pending.clear()

    def lose_store(self) -> None:
        """Somebody deletes it; until the next ADD or reconcile nobody knows what lives."""
        self.story.append("the store is deleted")
        self.host.lose_store()
        self.store_lost = True

    def pass_time(self, seconds: float) -> None:
        """Nothing happens for a while.

        What a dead process had sent arrives first: not after minutes that took no time here.
        """
        if self.scene.under_way is not None:
            self.scene.under_way.arrive()
        self.story.append(f"{seconds:.0f} s pass")
        self.scene.pass_time(seconds)

    def add_killed_at(
        self,
        moment: str,
        container: str = "",
        then: Callable[[], object] = lambda: None,
        skip: int = 0,
    ) -> UnderWay:
        """ADD whose process is killed while Neutron has such a request of it.

        The request waits until the test says what becomes of it, or until time passes.
        """
        request = UnderWay(moment, self.scene.folder, then, skip)
        self.scene.under_way = request
        self.add(container, kill_when=str(request.flag))
        return request

    def at(self, moment: str, action: Callable[[], object]) -> None:
        """Do something once, just before the fake serves a request such as "PUT /ports"."""
        self.happened = False

        def before(request: Request) -> None:
            if not self.happened and re.search(moment, f"{request.method} {request.path}"):
                self.happened = True
                action()

        self.scene.neutron.before = before

    def look(self) -> None:
        """Note what is wrong now."""
        found = invariants.broken(self.scene, [self.host], self.mode, self.live)
        found += invariants.trespasses(self.scene, [self.rival], self.live)
        reserved = invariants.reserved(self.scene, [self.host])
        found += [
            f"{address} went {until - self.now:.1f} s before its rest ended"
            for address, until in self.resting.items()
            if until - self.now > 1 and address not in reserved
        ]
        held = None if self.store_lost else self.host.held()
        found += [
            f"live {container} has {addresses}, but the store holds {held.get(container)} for it"
            for (_, container), addresses in self.live.items()
            if held is not None and held.get(container) != set(addresses)
        ]
        self.wrong += [item for item in found if item not in self.wrong]

    def end(self) -> list[str]:
        """Every container goes, every rest passes; what is left then is leaked."""
        self.scene.neutron.faults.clear()
        self.scene.neutron.before = None
        for container in [*self.containers, *self.pending]:
            outcome = self.delete(container)
            if not outcome.ok:
                outcome = self.delete(container)
            if not outcome.ok:
                self.wrong.append(f"DEL of {container} fails: {outcome.error}")
        return self.come_to_rest()

    def come_to_rest(self) -> list[str]:
        """Without another DEL: collect and sweep until nothing changes. What is left is leaked."""
        if self.pending or self.uncollected or self.config != self._without_warm:
            self.config = self._without_warm
            self.host.install(self.config)
            self.collect()
        for _ in range(PATIENT_SWEEPS):
            self.pass_time(max(QUARANTINE, LATE_ANSWER_SECONDS) + 1)
            outcome = self.sweep()
            if not outcome.ok and not (outcome.code == Code.STORE and self.store_lost):
                self.wrong.append(f"the sweeper fails: {outcome.error}")
            left = invariants.leaks(self.scene, [self.host], [self.rival])
            if not left:
                break
            if self.store_lost:
                # Only that finds what a lost store knew, when no ADD comes after it.
                self.reconcile()
        return left

    def _leaves(self, container: str) -> None:
        addresses = self.live.pop((self.host.name, container), None)
        if addresses is not None or container in self.pending:
            self.pending[container] = "del"
        for address in addresses or ():
            self.resting[address] = self.now + self._rest

    def _added(self, job: Job, outcome: Outcome, began: float) -> None:
        key = (self.host.name, job.container)
        if not outcome.ok:
            if key not in self.live:
                self.pending.setdefault(job.container, "add")
            if outcome.code < 0 or outcome.code == Code.UNEXPECTED:
                self.wrong.append(f"ADD of {job.container}: {outcome.error}")
            return
        addresses = [ip_address(item) for item in outcome.addresses]
        known = self.live.get(key)
        if known is not None and known != addresses:
            self.wrong.append(f"a repeated ADD of {job.container} gave {addresses}, not {known}")
        for address in addresses:
            left = self.resting.get(address, 0.0) - self.now
            if known is None and left > 0:
                self.wrong.append(f"{address} was given again {left:.1f} s before its rest ended")
        self.live[key] = addresses
        self.pending.pop(job.container, None)

    def _tell(self, job: Job, outcome: Outcome) -> None:
        end = "killed" if outcome.killed else outcome.error or " ".join(outcome.addresses) or "ok"
        dying = f" (dies at {job.kill_at or 'a request'})" if outcome.killed else ""
        self.story.append(f"{job.kind} {job.container}{dying}: {end}")


def told(lives: Sequence[Life]) -> str:
    """The stories of lives that went wrong."""
    return "\n\n".join(
        "\n".join([f"{life.mode}:", *life.story, *(f"  WRONG: {w}" for w in life.wrong)])
        for life in lives
    )
