"""What the store knows: leases as they are read."""

from __future__ import annotations

from neutron_cni.store.database import Database, address_in
from neutron_cni.store.record import Entry, Record, State
from neutron_cni.values.attachment import Attachment

REFILL = "refill|"
"""What the keys of facts begin with that say of an anchor: its NICs for pods to come are to be seen
to."""
_LIVE = "('wanted', 'intended', 'held', 'failed')"


class Leases(Database):
    """One node's leases, to be looked at. Every method raises CniError STORE."""

    def live(self, network: str, attachment: Attachment) -> Record | None:
        """The lease that an attachment asks for or has, None where DEL came last."""
        found = self._live(attachment.token(network))
        return found if found is not None and found.may_be_of(network, attachment) else None

    def get(self, record_id: int) -> Record | None:
        """One lease by its row; None when it is gone."""
        return self._one("id = ?", record_id)

    def by_nonce(self, nonce: str) -> Record | None:
        """The lease with that nonce; None when it is gone."""
        return self._one("nonce = ?", nonce)

    def all(self) -> list[Record]:
        """Every lease, oldest first."""
        return self._records("1")

    def queue(self, anchor: str) -> list[Record]:
        """Every lease served under an anchor's lock, oldest first."""
        return self._records("anchor = ?", anchor)

    def entries(self) -> list[Entry]:
        """Every address of every lease; takes a small part of the time that `all` takes."""
        with self._errors():
            rows = self._db.execute(
                "SELECT lease.id, token, state, subnet_id, address FROM address"
                " JOIN lease ON lease.id = lease_id ORDER BY lease.id"
            ).fetchall()
            return [Entry(i, token, State(s), net, address_in(a)) for i, token, s, net, a in rows]

    def due(self, now: float) -> dict[str, float]:
        """Anchors with something to give back, or NICs to see to, and when (Unix seconds; past:
        now)."""
        with self._errors():
            rows = self._db.execute(
                "SELECT anchor, MIN(until) FROM lease"
                " WHERE state IN ('cooling', 'released') GROUP BY anchor"
            ).fetchall()
            marks = self._db.execute(
                "SELECT substr(key, ?) FROM fact WHERE substr(key, 1, ?) = ?",
                (len(REFILL) + 1, len(REFILL), REFILL),
            ).fetchall()
        rows += [(anchor, 0.0) for (anchor,) in marks]
        return {anchor: max(now, until) for anchor, until in rows}

    def _live(self, token: str) -> Record | None:
        return self._one(f"token = ? AND state IN {_LIVE}", token)
