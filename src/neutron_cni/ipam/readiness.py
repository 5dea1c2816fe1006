"""Whether STATUS says that the node is ready: decided from what the cloud last answered. Pure.

STATUS is asked every few seconds, on every node, and whoever hears a no evicts the node's pods
after some minutes. So the cloud is looked at once a minute only, and what was seen is recorded and
answered from meanwhile. A cloud that is away hurts no pod that runs: for `patience` seconds it is a
note and no error, unless this node never reached its cloud at all. What does not pass by itself
(credentials, a broken store) is an error at once, and the cloud is then asked again soon, so that
who mends it sees it. What one odd answer may have said (no such network, a VM without a port) is an
error once the next look, which comes as soon, says it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from neutron_cni.ipam.room import Capacity, lack
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.typed import convert

VERSION = 1
INTERVAL = 60.0
"""How long STATUS answers from the store before it looks at the cloud again, while it succeeds; a
quarter more or less."""
RETRY = 6.0
"""The same while STATUS fails: who mends what is wrong sees it at once."""
LONGEST_RETRY = 30.0
"""The same while Keystone refuses the credentials, or after half an hour of trouble: a thousand
nodes must not keep down what comes back, nor have the account locked. A clouds.yaml that changed is
tried at once all the same."""
LONGEST_LOOK = 20.0
"""Seconds after which a process that asks the cloud is not merely slow: STATUS has ten."""
LONGEST_GAP = 900.0
"""Seconds: two looks that are further apart say nothing of the time between."""

_PASSING = (Code.TRY_AGAIN, Code.UNEXPECTED)
"""What may be otherwise in a minute: nobody answered, or not as Neutron does."""

_DOUBTFUL = (Code.NOT_FOUND, Code.PORT_NOT_FOUND, Code.CONFLICT, Code.INVALID_CONFIG)
"""What one answer of a gateway, a cache or a database that lags may say of a cloud that is well."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time that setting the clock does not change: seconds since this boot of the machine."""

    boot: str
    seconds: float


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud answered when it was asked whether an ADD could succeed."""

    version: int = VERSION
    boot: str
    asked: float
    """Seconds since that boot."""
    clock: float
    """The same for people: Unix seconds."""
    jitter: float
    """Between 0 and 1, by chance: so that nodes which began together do not ask together."""
    files: str = ""
    """What told the state of clouds.yaml apart from any other."""
    code: int = 0
    """Of the error that an ADD would have met; 0 for none but a lack of room."""
    message: str = ""
    details: str = ""
    trouble_since: float | None = None
    """Seconds since that boot; when trouble that passes, or that is to be seen twice, was met first
    and not yet seen to end."""
    capacity: Capacity | None = None
    """As seen last, also where this look saw none."""
    counted: float = 0.0
    """When `capacity` was seen: Unix seconds."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the answer depends on besides what the cloud said."""

    now: Moment
    patience: float
    """Seconds that trouble may last before it is an error; 0: it is one at once, seen once."""
    capacity_counts: bool
    """Whether it is an error when there is no room for one more pod."""
    has_worked: bool
    """Whether this node has ever had a good answer of its cloud: else no pod can be harmed."""
    files: str = ""
    """As in `Look`, now."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What STATUS answers, and whether to ask the cloud before."""

    ask: bool
    problem: CniError | None = None
    notes: tuple[str, ...] = ()
    """Sentences for the operator that are no errors."""


def judge(look: Look | None, situation: Situation) -> Verdict:
    """The answer by the last look; `ask`: it is too old, so look first and judge that."""
    if look is None:
        return Verdict(ask=True, problem=_unavailable("the cloud was not asked yet", ""))
    problem, notes = _answer(look, situation)
    now = situation.now
    soon = problem is not None or look.code in _DOUBTFUL
    interval = (_retry(look, now) if soon else INTERVAL) * (0.75 + look.jitter / 2)
    of_now = look.boot == now.boot and look.files == situation.files and look.asked <= now.seconds
    return Verdict(not (of_now and now.seconds < look.asked + interval), problem, notes)


def while_another_asks(look: Look, situation: Situation, pid: int) -> Verdict:
    """The answer by a look that is too old, as process `pid` has been asking the cloud since."""
    verdict = judge(look, situation)
    if look.boot != situation.now.boot or verdict.problem is not None:
        return verdict
    late = situation.now.seconds - look.asked - 1.25 * INTERVAL
    if late < LONGEST_LOOK:
        return verdict
    what = f"process {pid} has been asking the cloud for {late:.0f} s and does not end"
    advice = f"see what it waits for (/proc/{pid}/stack), then end it"
    if late < max(LONGEST_LOOK, situation.patience):
        return Verdict(True, None, (*verdict.notes, f"{what}: {advice}"))
    return Verdict(True, _unavailable(what, advice))


def seen(look: Look, before: Look | None, outcome: Capacity | CniError) -> Look:
    """`look`, which has its moment only, with what came of it; `before`: the one before it."""
    if isinstance(outcome, Capacity):
        return msgspec.structs.replace(look, capacity=outcome, counted=look.clock)
    return msgspec.structs.replace(
        look,
        code=outcome.code,
        message=outcome.message,
        details=outcome.details,
        trouble_since=_since(look, before, outcome.code),
        capacity=before.capacity if before is not None else None,
        counted=before.counted if before is not None else 0.0,
    )


def encode(look: Look) -> str:
    """As the store keeps it."""
    return msgspec.json.encode(look).decode()


def decode(text: str | None) -> Look | None:
    """What `encode` made; None for what another version made, or damage: then the cloud is asked
    again."""
    try:
        look = convert(msgspec.json.decode(text or ""), Look)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return look if look.version == VERSION else None


def _since(look: Look, before: Look | None, code: int) -> float | None:
    """When the trouble that `look` met began; None for what needs no second look."""
    if code not in (*_PASSING, *_DOUBTFUL):
        return None
    alike = _PASSING if code in _PASSING else (code,)
    goes_on = (
        before is not None
        and before.code in alike
        and before.boot == look.boot
        and before.trouble_since is not None
        and 0 <= look.asked - before.asked <= LONGEST_GAP
    )
    began = before.trouble_since if before is not None and goes_on else None
    return look.asked if began is None else began


def _retry(look: Look, now: Moment) -> float:
    if look.code == Code.CREDENTIALS:
        return LONGEST_RETRY
    if look.code not in _PASSING:
        return RETRY
    return min(LONGEST_RETRY, max(RETRY, _lasts(look, now) / 60))


def _lasts(look: Look, now: Moment) -> float:
    """Seconds since trouble began, as far as this boot knows."""
    if look.trouble_since is None or look.boot != now.boot:
        return 0.0
    return max(0.0, now.seconds - look.trouble_since)


def _answer(look: Look, situation: Situation) -> tuple[CniError | None, tuple[str, ...]]:
    """The error and the notes that the look is for."""
    if look.code in _PASSING:
        return _trouble(look, situation)
    if look.code in _DOUBTFUL and not _is_confirmed(look, situation):
        said = CniError(look.code, look.message, look.details)
        return None, (f"an error if the cloud says so again in {RETRY:.0f} s: {said}",)
    if look.code:
        return _unavailable(look.message, look.details), ()
    missing = lack(look.capacity) if look.capacity is not None else None
    if missing is None:
        return None, ()
    if situation.capacity_counts:
        return _unavailable(missing.message, missing.details), ()
    return None, (f"no room for another pod: {missing}",)


def _is_confirmed(look: Look, situation: Situation) -> bool:
    """Whether what one answer may have said is to be believed: another look said it, some time
    later, or no pod or no patience speaks against it."""
    if not situation.has_worked or situation.patience <= 0 or look.trouble_since is None:
        return True
    return look.asked - look.trouble_since >= RETRY / 2


def _trouble(look: Look, situation: Situation) -> tuple[CniError | None, tuple[str, ...]]:
    lasts = _lasts(look, situation.now)
    if not situation.has_worked:
        why = "this node has never had an answer of its cloud"
    elif lasts >= situation.patience:
        why = f"for {lasts:.0f} s now; `statusPatience` is {situation.patience:.0f}"
    else:
        left = situation.patience - lasts
        said = CniError(look.code, look.message, look.details)
        return None, (f"the cloud can't be asked, which is an error in {left:.0f} s: {said}",)
    details = f"{look.details}; {why}" if look.details else why
    return _unavailable(look.message, details), ()


def _unavailable(message: str, details: str) -> CniError:
    return CniError(Code.PLUGIN_NOT_AVAILABLE, message, details)
