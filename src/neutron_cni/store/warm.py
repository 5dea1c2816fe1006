"""NICs that are attached for pods to come: how many are wanted, which are ready, who gets one.

What is wanted is a fact for each CNI network, by the configuration of its last ADD or GC. A ready
NIC is a row whose token is nobody's; handed out, all that it stands for moves to the row of the
attachment that asks, in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import uuid4

import msgspec

from neutron_cni.store.lease_json import lease_to_json
from neutron_cni.store.leases import REFILL, Leases
from neutron_cni.store.record import WARM, PortAddress, Record, State
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease
from neutron_cni.values.typed import convert

_POOL = "pool|"
_RENAMED = "renamed|"


@dataclass(frozen=True, slots=True)
class Pool:
    """The NICs that are kept for pods of one CNI network: `config.warm_nics` of them."""

    network: str
    anchor: str
    config: IpamConfig

    def serves(self, record: Record) -> bool:
        """Whether the lease's NIC is one that a pod of this network may get."""
        return record.network == self.network and record.config.has_nics_of(self.config)


class WarmNics(Leases):
    """What changes of them, each a durable transaction; every method raises CniError STORE."""

    def note_pool(self, network: str, anchor: str, config: IpamConfig) -> None:
        """From now on so many NICs are kept for the network as its configuration says."""
        key, wanted = f"{_POOL}{network}", None
        if config.warm_nics:
            found = {"anchor": anchor, "config": msgspec.to_builtins(config)}
            wanted = msgspec.json.encode(found).decode()
        if self.fact(key) == wanted:
            return
        before = self._pool(network, self.fact(key))
        with self._transaction():
            self._remember(key, wanted)
            for concerned in {anchor, before.anchor if before else anchor}:
                self._remember(f"{REFILL}{concerned}", uuid4().hex)

    def forget_pool(self, network: str) -> None:
        """From now on no NICs are kept for the network: its pods get none."""
        known = self.fact(f"{_POOL}{network}")
        if known is None:
            return
        before = self._pool(network, known)
        with self._transaction():
            self._remember(f"{_POOL}{network}", None)
            if before is not None:
                self._remember(f"{REFILL}{before.anchor}", uuid4().hex)

    def pools(self, anchor: str) -> list[Pool]:
        """The networks whose NICs are attached under the anchor's lock, and want some kept."""
        found = (self._pool(network, value) for network, value in self.facts(_POOL).items())
        return [pool for pool in found if pool is not None and pool.anchor == anchor]

    def _pool(self, network: str, value: str | None) -> Pool | None:
        """None where nothing is wanted, or a version wrote it that this one does not understand."""
        try:
            known = msgspec.json.decode(value or "")
            return Pool(network, known["anchor"], convert(known["config"], IpamConfig))
        except (msgspec.MsgspecError, KeyError, TypeError):
            return None

    def refill_mark(self, anchor: str) -> str | None:
        """What says that the anchor's NICs are to be seen to; another text with each new reason."""
        return self.fact(f"{REFILL}{anchor}")

    def have_refilled(self, anchor: str, mark: str) -> None:
        """They were seen to, unless there is a new reason since `mark` was read."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM fact WHERE key = ? AND value = ?", (f"{REFILL}{anchor}", mark)
            )

    def hand_out(self, record_id: int, macs: Collection[str]) -> bool:
        """Give a request the NIC that is ready for longest, of those with one of these MACs:
        wanted -> held. Whether there was one for it; if not, the NICs are to be seen to."""
        with self._transaction():
            record = self.get(record_id)
            if record is None or record.state is not State.WANTED:
                return False
            pool = Pool(record.network, record.anchor, record.config)
            ready = self._records(
                "anchor = ? AND state = 'ready' AND until <= ?", record.anchor, time.time()
            )
            mine = [r for r in ready if pool.serves(r) and r.lease and r.lease.nic_mac in macs]
            self._remember(f"{REFILL}{record.anchor}", uuid4().hex)
            if not mine:
                return False
            taken = min(mine, key=lambda item: item.changed)
            self._forget([taken.id])
            self._move(record_id, (State.WANTED,), State.HELD, until=0.0)
            self._write_lease(record_id, taken)
            self._remember(f"{_RENAMED}{taken.nonce}", "handed out")
            return True

    def _write_lease(self, record_id: int, source: Record) -> None:
        assert source.lease is not None, "a NIC that is ready has a lease"
        self._db.execute(
            "UPDATE lease SET nonce = ?, answer = ? WHERE id = ?",
            (source.nonce, lease_to_json(source.lease), record_id),
        )
        self._write_addresses(record_id, source.addresses)

    def make_ready(self, record_id: int, addresses: tuple[PortAddress, ...], lease: Lease) -> None:
        """A NIC for a pod to come is attached: intended -> ready."""
        with self._transaction():
            if self._move(record_id, (State.INTENDED,), State.READY, until=0.0):
                self._db.execute(
                    "UPDATE lease SET answer = ?, owner = '' WHERE id = ?",
                    (lease_to_json(lease), record_id),
                )
                self._write_addresses(record_id, addresses)

    def keep_warm(self, record_id: int, until: float) -> None:
        """A pod is gone, and its NIC is kept for another, from `until` (Unix seconds) on: cooling
        -> ready. The row forgets the pod."""
        with self._transaction():
            record = self.get(record_id)
            if record is None or not self._move(
                record_id, (State.COOLING,), State.READY, until=until
            ):
                return
            self._db.execute(
                "UPDATE lease SET token = ?, container_id = '', ifname = '', netns = '',"
                " netns_inode = 0, pod_namespace = '', pod_name = '', pod_uid = '', wish = '[]',"
                " owner = '' WHERE id = ?",
                (new_token(), record_id),
            )
            self._remember(f"{_RENAMED}{record.nonce}", "kept")

    def release_warm(self, record_ids: Iterable[int]) -> None:
        """No pod is to get these NICs: ready -> released."""
        with self._transaction():
            for record_id in record_ids:
                self._move(record_id, (State.READY,), State.RELEASED, until=0.0)

    def renamed(self) -> dict[str, str]:
        """Nonces of the leases whose ports still say by their tags who had them before, each with
        how the NIC changed hands."""
        return self.facts(_RENAMED)

    def have_renamed(self, nonce: str, how: str) -> None:
        """The lease's port says who has it now, or there is none. Not if it changed hands otherwise
        since `how` was read: a NIC is handed out while its port is being tagged."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM fact WHERE key = ? AND value = ?", (f"{_RENAMED}{nonce}", how)
            )


def new_token() -> str:
    """The token of a row that is no attachment's."""
    return f"{WARM}{uuid4().hex[:16]}"
