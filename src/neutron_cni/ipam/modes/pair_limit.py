"""The limit of allowed address pairs, which Neutron tells only when it refuses one."""

from __future__ import annotations

from neutron_cni.ipam.modes.context import Context
from neutron_cni.openstack.types import Port
from neutron_cni.values.errors import CniError, Code

LIMIT_SECONDS = 600.0
"""How long a limit that Neutron told is believed: the operator may have raised it since."""


def known(context: Context) -> int | None:
    """The limit of pairs that this cloud told when it last refused one, None if not lately."""
    told = context.store.fact(_fact(context), LIMIT_SECONDS)
    return int(told) if told else None


def learn(context: Context, limit: int) -> None:
    """Remember the limit that Neutron told when it refused a list of pairs."""
    context.store.remember(_fact(context), str(limit))


def exceeded(context: Context, count: int) -> None:
    """Neutron accepted `count` pairs: forget a remembered limit that is smaller."""
    limit = known(context)
    if limit is not None and count > limit:
        context.store.remember(_fact(context), None)


def refusal(context: Context, port: Port) -> CniError:
    """The error for a pod for whose pair there is no room."""
    return CniError(
        Code.EXHAUSTED,
        f"port {port.id} has {len(port.address_pairs)} allowed address pairs, "
        f"and Neutron's limit is {known(context) or 'unknown'}",
        "raise max_allowed_address_pair in neutron.conf, use mode fixed-ips, or spread the pods",
    )


def _fact(context: Context) -> str:
    return f"address-pair-limit|{context.config.cloud or ''}|{context.config.clouds_file or ''}"
