"""`detach`, step by step."""

from __future__ import annotations

from msgspec.structs import replace

from neutron_cni.cli.by_hand.networks import Chosen
from neutron_cni.cli.by_hand.records import Record, Records, begun
from neutron_cni.cli.by_hand.targets import Target, resolve
from neutron_cni.cli.by_hand.typed import detached
from neutron_cni.cli.by_hand.work import Done, Place, Source, choose, links_of, seen, timed
from neutron_cni.cni.codec import result_from_document
from neutron_cni.cni.runtime import Chain
from neutron_cni.netlink.namespace import Identity, Namespace
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

_BY_ID = "id:"
_MOST_NAMED = 5
"""Records that are named to who looks for another one."""


def detach(
    word: str, ifname: str | None, place: Place, network: str | None, source: Source
) -> Done:
    """Take back what `attach` did for `word`. Raises CniError."""
    deadline = Deadline.after(place.timeout)
    records = Records(place.state_dir)
    target, why = _resolved(word)
    known, broken = records.all()
    wanted = [
        item
        for item in known
        if ifname in (None, item.ifname) and network in (None, item.network_name)
    ]
    # A container of now goes before one of then that was called so.
    found = [item for item in wanted if target is not None and _is_in(item, target)]
    found = found or [item for item in wanted if item.is_called(word)]
    record = recorded = _the_one(word, found)
    warnings = tuple(broken)
    if record is None:
        if (target is None and why is not None) or ifname is None or not (network or source.config):
            raise _unknown(word, why, known)
        chosen = choose(source.conf_dir, network, source.config)
        record = _without(word, target, chosen, ifname, place)
        warnings += chosen.warnings
    elif source.config is not None:
        chosen = choose(source.conf_dir, record.network_name, source.config)
        record = replace(record, network=chosen.network.document(), path=list(place.path))
    with records.locked(record.identity, deadline):
        if recorded is not None and not records.has(recorded):
            raise CniError(
                Code.UNKNOWN_CONTAINER,
                f"{record.ifname} of {record.what} was detached by somebody else meanwhile",
            )
        commands = _delete(record, target, deadline)
        records.remove(record)
    return Done("detached", record, commands, warnings)


def _resolved(word: str) -> tuple[Target | None, CniError | None]:
    """What the word means, or why it can't be told: it may be gone."""
    try:
        return (None, None) if word.startswith(_BY_ID) else (resolve(word), None)
    except CniError as error:
        return None, error


def _is_in(record: Record, target: Target) -> bool:
    """Whether it is an attachment of that namespace.

    The number of a namespace that has ended is given to a new one. So where the path of then is
    gone, as its process has ended and another one is in the namespace, the interface must be that
    of then.
    """
    if not record.is_of(target):
        return False
    if record.live_path() or record.result is None:
        return bool(record.live_path())
    result = result_from_document(record.result, "result")
    macs = {item.mac for item in result.interfaces if item.sandbox and item.mac}
    with Namespace.open(target.path) as namespace:
        link = links_of(namespace).get(record.ifname)
    return link is not None and link.mac in macs


def _the_one(word: str, found: list[Record]) -> Record | None:
    if len(found) > 1:
        listed = "; ".join(f"--network {x.network_name} --ifname {x.ifname}" for x in found)
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"{word} is attached {len(found)} times",
            f"say which: {listed}; nothing was changed",
        )
    return found[0] if found else None


def _unknown(word: str, why: CniError | None, known: list[Record]) -> CniError:
    """Without a record nothing says that an interface is not the runtime's own, which plugins
    would delete as well: so an operator must name it."""
    recorded = "; ".join(
        f"{x.ifname} of {x.what} (id:{x.container_id})" for x in known[:_MOST_NAMED]
    )
    first = f"{why.message}, and " if why is not None else ""
    return CniError(
        why.code if why is not None else Code.UNKNOWN_CONTAINER,
        f"{first}nothing is recorded that was attached to {word!r:.80} by hand",
        f"recorded: {recorded or 'none'}; if a record was lost: name --network and --ifname (and "
        "what is gone as id:CONTAINER-ID, as leases shows it); nothing was changed",
    )


def _without(word: str, target: Target | None, chosen: Chosen, ifname: str, place: Place) -> Record:
    """What attach must have done, where it left no record."""
    identity = target.identity if target else Identity(0, 0)
    made = target or Target(word, word.removeprefix(_BY_ID), "", identity)
    attachment = Attachment(made.container_id, ifname, made.path)
    return begun(word, made, Chain(chosen.network, place.path, attachment, made.pod))


def _delete(record: Record, target: Target | None, deadline: Deadline) -> list[str]:
    """DEL of all plugins; the commands that it stands for. Raises CniError."""
    path = record.live_path()
    if not path and target is not None and _is_in(record, target):
        path = target.path
    if not path:
        with timed(deadline):
            record.chain().delete(record.result, deadline, "")
        return []
    with Namespace.open_pod(path) as namespace:
        before = seen(namespace)
        with timed(deadline):
            record.chain().delete(record.result, deadline, path)
        after = seen(namespace)
    if record.ifname in {link.name for link in after.pod.links.values()}:
        raise CniError(
            Code.CONFLICT,
            f"{record.ifname} is still in {path} after DEL of network {record.network_name}",
            "was it attached to another network, or by somebody else? see ip link there",
        )
    return detached(before, after, path)
