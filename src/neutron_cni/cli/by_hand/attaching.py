"""`attach`, step by step."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from neutron_cni.cli.by_hand.networks import Chosen
from neutron_cni.cli.by_hand.records import Record, Records, begun
from neutron_cni.cli.by_hand.targets import Held, resolve
from neutron_cni.cli.by_hand.typed import attached
from neutron_cni.cli.by_hand.work import Done, Place, links_of, seen, timed
from neutron_cni.cni.environment import interface_name
from neutron_cni.cni.runtime import Chain, Wishes
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code


def attach(word: str, ifname: str, place: Place, chosen: Chosen, wishes: Wishes) -> Done:
    """Attach what `word` means. Raises CniError, and has then taken back what it began; where that
    could not be done the record stays, and the error says so."""
    interface_name(ifname, "--ifname")
    deadline = Deadline.after(place.timeout)
    target = resolve(word)
    records = Records(place.state_dir)
    with Held(target) as held, records.locked(target.identity, deadline):
        attachment = Attachment(target.container_id, ifname, target.path)
        chain = Chain(chosen.network, place.path, attachment, target.pod, wishes, held.require_same)
        _clear(records, held, chain, deadline)
        _refuse_taken(held, ifname, records)
        record = begun(word, target, chain)
        records.write(record)
        before = seen(held.namespace)
        result = _add(records, record, chain, held, deadline)
        commands = attached(before, seen(held.namespace), target.path)
    return Done("attached", record, commands, chosen.warnings, result)


def _add(
    records: Records, record: Record, chain: Chain, held: Held, deadline: Deadline
) -> dict[str, Any]:
    try:
        with timed(deadline):
            result = chain.add(deadline)
        records.write(replace(record, result=result))
        return result
    except BaseException as error:
        trouble = chain.take_back(record.netns if held.is_same else "")
        if trouble is None:
            records.remove(record)
        elif isinstance(error, CniError):
            raise CniError(
                error.code, error.message, f"{error.details}; {_not_taken_back(trouble, record)}"
            ) from None
        raise


def _not_taken_back(trouble: CniError, record: Record) -> str:
    return (
        f"what was begun could not be taken back either: {trouble}; when that is mended: "
        f"neutron-cni detach id:{record.container_id} --ifname {record.ifname}"
    )


def _clear(records: Records, held: Held, chain: Chain, deadline: Deadline) -> None:
    """Take back what an attachment of the same name left that was interrupted, or that has lost its
    namespace or interface without a detach: its address may not be had twice."""
    former = records.find(chain.network, chain.attachment)
    if former is None:
        return
    stands = former.is_of(held.target) and former.result is not None
    if stands and former.ifname in links_of(held.namespace):
        return
    with timed(deadline):
        former.chain().delete(former.result, deadline, former.live_path())
    records.remove(former)


def _refuse_taken(held: Held, ifname: str, records: Records) -> None:
    taken = links_of(held.namespace)
    if ifname not in taken:
        return
    own = [x for x in records.all()[0] if x.is_of(held.target) and x.ifname == ifname]
    by_hand = f", attached by hand to network {own[0].network_name}" if own else ""
    free = next(name for i in range(1, 1000) if (name := f"net{i}") not in taken)
    raise CniError(
        Code.CONFLICT,
        f"{held.target.what} has an interface {ifname} already{by_hand}",
        f"--ifname gives another name, such as {free}; nothing was changed",
    )
