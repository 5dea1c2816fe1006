"""What STATUS answers, and when it asks the cloud: the decision as a table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from neutron_cni.ipam import readiness
from neutron_cni.ipam.readiness import (
    INTERVAL,
    LONGEST_GAP,
    LONGEST_RETRY,
    RETRY,
    Look,
    Moment,
    Situation,
    decode,
    encode,
    judge,
    seen,
    while_another_asks,
)
from neutron_cni.ipam.room import Capacity, Limit, SubnetRoom, lack
from neutron_cni.values.errors import CniError, Code

V4, V6 = SubnetRoom("a", "10.0.0.0/24", 5), SubnetRoom("b", "fd00::/64", 5)
ROOM = Capacity((V4,))
FULL = Capacity((SubnetRoom("a", "10.0.0.0/24", 0),))
AWAY = CniError(Code.TRY_AGAIN, "Neutron is unreachable", "is it up?")
BOOT = "this boot"
BEGAN = 1000.0


def blank(asked: float = BEGAN, **more: Any) -> Look:
    usual: dict[str, Any] = {"boot": BOOT, "clock": 0.0, "jitter": 0.5}
    return Look(asked=asked, **usual | more)


def looked(outcome: Capacity | CniError = ROOM, before: Look | None = None, **more: Any) -> Look:
    return seen(blank(**more), before, outcome)


def situation(now: float, **more: Any) -> Situation:
    usual: dict[str, Any] = {"patience": 600.0, "capacity_counts": False, "has_worked": True}
    return Situation(now=Moment(BOOT, now), **usual | more)


def test_whoever_has_never_asked_asks() -> None:
    verdict = judge(None, situation(0))
    assert verdict.ask
    assert verdict.problem is not None
    assert verdict.problem.code == Code.PLUGIN_NOT_AVAILABLE


PASSING = [Code.TRY_AGAIN, Code.UNEXPECTED]
DOUBTFUL = [Code.NOT_FOUND, Code.PORT_NOT_FOUND, Code.CONFLICT, Code.INVALID_CONFIG]
STANDING = [code for code in Code if code not in (*PASSING, *DOUBTFUL)]


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize(
    ("lasts", "patience", "has_worked", "is_error"),
    [
        (0, 600, True, False),
        (599, 600, True, False),
        (600, 600, True, True),
        (5000, 600, True, True),
        (0, 0, True, True),
        (5, 0, True, True),
        (0, 600, False, True),
        (5000, 604800, True, False),
    ],
)
def test_trouble_that_passes_is_an_error_once_it_outlasts_the_patience(
    code: Code, lasts: float, patience: float, has_worked: bool, is_error: bool
) -> None:
    look = looked(CniError(code, "Neutron is unreachable", "is it up?"))
    verdict = judge(look, situation(BEGAN + lasts, patience=patience, has_worked=has_worked))
    assert (verdict.problem is not None) == is_error
    if verdict.problem is not None:
        assert verdict.problem.code == Code.PLUGIN_NOT_AVAILABLE
        assert verdict.problem.message == "Neutron is unreachable"
        assert verdict.problem.details.startswith("is it up?; ")
    else:
        (note,) = verdict.notes
        assert "Neutron is unreachable" in note
        assert f"an error in {patience - lasts:.0f} s" in note


@pytest.mark.parametrize("code", STANDING)
@pytest.mark.parametrize("patience", [0, 604800])
def test_what_does_not_pass_is_an_error_at_once(code: Code, patience: float) -> None:
    verdict = judge(looked(CniError(code, "no", "do")), situation(BEGAN, patience=patience))
    assert verdict.problem is not None
    assert (verdict.problem.code, str(verdict.problem)) == (Code.PLUGIN_NOT_AVAILABLE, "no (do)")


def is_error(look: Look, **more: Any) -> bool:
    return judge(look, situation(look.asked, **more)).problem is not None


@pytest.mark.parametrize("code", DOUBTFUL)
class TestWhatOneOddAnswerMayHaveSaid:
    """It is believed once the next look says so too: 6 s later, as after an error."""

    def test_it_is_an_error_once_the_next_look_says_it_too(self, code: Code) -> None:
        first = looked(CniError(code, "no such network", "do"), looked(), asked=BEGAN + 60)
        verdict = judge(first, situation(BEGAN + 60))
        assert (verdict.ask, verdict.problem) == (False, None)
        assert "an error if the cloud says so again in 6 s: no such network" in verdict.notes[0]
        assert judge(first, situation(BEGAN + 66)).ask
        assert not judge(first, situation(BEGAN + 65)).ask
        for later in (66, 72, 5000):
            first = looked(CniError(code, "no such network"), first, asked=BEGAN + later)
            assert is_error(first) == (later < 5000), "nobody asked for long before the last"

    def test_two_looks_at_once_are_one(self, code: Code) -> None:
        first = looked(CniError(code, "no"))
        assert not is_error(looked(CniError(code, "no"), first, asked=BEGAN + 1))

    def test_between_other_answers_it_is_never_an_error(self, code: Code) -> None:
        other = Code.PORT_NOT_FOUND if code != Code.PORT_NOT_FOUND else Code.NOT_FOUND
        for between in (ROOM, AWAY, CniError(other, "no")):
            look = looked(between, looked(CniError(code, "no")), asked=BEGAN + 6)
            assert not is_error(looked(CniError(code, "no"), look, asked=BEGAN + 12))

    def test_patience_with_a_cloud_that_is_away_begins_after_it(self, code: Code) -> None:
        look = looked(AWAY, looked(CniError(code, "no")), asked=BEGAN + 6)
        assert look.trouble_since == BEGAN + 6

    @pytest.mark.parametrize("more", [{"has_worked": False}, {"patience": 0.0}], ids=str)
    def test_without_pods_or_patience_it_is_an_error_at_once(
        self, code: Code, more: dict[str, Any]
    ) -> None:
        assert is_error(looked(CniError(code, "no")), **more)

    def test_while_it_lasts_the_cloud_is_asked_as_often(self, code: Code) -> None:
        look = looked(CniError(code, "no"))
        for later in (600, 1200, 1800, 2400, 3000):
            look = looked(CniError(code, "no"), look, asked=BEGAN + later)
        assert judge(look, situation(BEGAN + 3000 + RETRY)).ask


@pytest.mark.parametrize("capacity_counts", [False, True])
def test_no_room_is_an_error_only_where_that_is_wanted(capacity_counts: bool) -> None:
    verdict = judge(looked(FULL), situation(BEGAN, capacity_counts=capacity_counts))
    assert (verdict.problem is not None) == capacity_counts
    said = str(verdict.problem) if verdict.problem else "\n".join(verdict.notes)
    assert "no free address in subnet a (10.0.0.0/24)" in said


def test_a_good_look_says_nothing() -> None:
    assert judge(looked(), situation(BEGAN)) == readiness.Verdict(ask=False)


@pytest.mark.parametrize(
    ("outcome", "interval"),
    [
        (ROOM, INTERVAL),
        (FULL, INTERVAL),
        (AWAY, INTERVAL),
        (CniError(Code.NOT_FOUND, ""), RETRY),
        (CniError(Code.CREDENTIALS, ""), LONGEST_RETRY),
    ],
    ids=["room", "full", "away", "wrong", "refused"],
)
@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)])
def test_the_cloud_is_asked_rarely_while_it_is_well_and_soon_while_the_answer_is_no(
    outcome: Capacity | CniError, interval: float, jitter: float, factor: float
) -> None:
    look = looked(outcome, jitter=jitter)
    due = BEGAN + interval * factor
    assert not judge(look, situation(due - 0.1)).ask
    assert judge(look, situation(due)).ask


@pytest.mark.parametrize(
    ("lasts", "interval"), [(0, RETRY), (300, RETRY), (600, 10), (1800, 30), (90000, LONGEST_RETRY)]
)
def test_the_longer_a_cloud_is_away_the_less_it_is_asked(lasts: float, interval: float) -> None:
    look = looked(AWAY, boot=BOOT, asked=BEGAN + lasts)
    look = msgspec.structs.replace(look, trouble_since=BEGAN)
    for waits, is_due in ((interval * 0.97, False), (interval * 1.07, True)):
        now = situation(BEGAN + lasts + waits, patience=0)
        assert judge(look, now).ask == is_due, waits


def test_when_patience_ends_the_cloud_is_asked_before_the_answer_becomes_no() -> None:
    first = looked(AWAY)
    last = looked(AWAY, first, asked=BEGAN + 590)
    assert not judge(last, situation(BEGAN + 599)).ask
    verdict = judge(last, situation(BEGAN + 601))
    assert verdict.problem is not None
    assert verdict.ask


@pytest.mark.parametrize(
    ("more", "now"),
    [
        ({"boot": "the boot before"}, BEGAN + 1),
        ({"files": "other credentials"}, BEGAN + 1),
        ({"asked": BEGAN + 5}, BEGAN),
    ],
    ids=["boot", "clouds.yaml", "future"],
)
def test_a_look_of_another_time_or_with_other_credentials_is_too_old(
    more: dict[str, Any], now: float
) -> None:
    assert judge(looked(**more), situation(now)).ask


class TestHowLongTroubleLasts:
    """From the first look that met it, as far as that is known."""

    def test_from_the_first_of_several(self) -> None:
        look = looked(AWAY)
        for later in (60, 120, 180):
            look = looked(AWAY, look, asked=BEGAN + later)
            assert look.trouble_since == BEGAN

    def test_anew_after_a_good_look(self) -> None:
        look = looked(ROOM, looked(AWAY), asked=BEGAN + 60)
        assert look.trouble_since is None
        assert looked(AWAY, look, asked=BEGAN + 90).trouble_since == BEGAN + 90

    def test_anew_after_an_answer_that_was_no_trouble(self) -> None:
        look = looked(CniError(Code.CREDENTIALS, ""), looked(AWAY), asked=BEGAN + 60)
        assert looked(AWAY, look, asked=BEGAN + 90).trouble_since == BEGAN + 90

    def test_anew_after_a_boot(self) -> None:
        """The machine was off for who knows how long."""
        before = looked(AWAY, boot="the boot before", asked=5.0)
        assert looked(AWAY, before).trouble_since == BEGAN
        assert judge(before, situation(9000.0)).problem is None

    def test_anew_when_nobody_asked_for_long(self) -> None:
        for gap, since in ((LONGEST_GAP, BEGAN), (LONGEST_GAP + 1, BEGAN + LONGEST_GAP + 1)):
            assert looked(AWAY, looked(AWAY), asked=BEGAN + gap).trouble_since == since


class TestWhileAnotherAsks:
    """One process asks the cloud, and others answer by what is known; it may never end."""

    @pytest.mark.parametrize(
        ("late", "patience", "is_error", "notes"),
        [(5, 600, False, 0), (25, 600, False, 1), (601, 600, True, 0), (25, 0, True, 0)],
    )
    def test_it_is_waited_for_as_long_as_for_the_cloud(
        self, late: float, patience: float, is_error: bool, notes: int
    ) -> None:
        now = situation(BEGAN + 1.25 * INTERVAL + late, patience=patience)
        verdict = while_another_asks(looked(), now, 4711)
        assert (verdict.problem is not None) == is_error
        assert len(verdict.notes) == notes
        assert ("4711" in f"{verdict.problem}{verdict.notes}") == (is_error or bool(notes))

    def test_what_was_an_error_stays_one(self) -> None:
        verdict = while_another_asks(looked(CniError(Code.CREDENTIALS, "no")), situation(BEGAN), 1)
        assert verdict.problem is not None

    def test_a_look_of_another_boot_says_nothing_of_how_late_it_is(self) -> None:
        verdict = while_another_asks(looked(boot="other"), situation(BEGAN + 9000), 1)
        assert (verdict.problem, verdict.notes) == (None, ())


def test_what_was_counted_last_is_kept_while_the_cloud_is_away() -> None:
    look = looked(AWAY, looked(clock=77.0))
    assert (look.capacity, look.counted) == (ROOM, 77.0)


def test_looks_are_read_back_as_they_were_written() -> None:
    pairs = Capacity((V4, V6), Limit(3, None), Limit(2, 10))
    for look in (looked(pairs, clock=5.0), looked(AWAY, looked(pairs)), looked(AWAY)):
        assert decode(encode(look)) == look


@pytest.mark.parametrize(
    "text",
    [None, "", "null", "[]", "{", '{"boot": 5}', "[" * 100_000, encode(blank(version=2))],
    ids=["none", "empty", "null", "list", "cut", "shape", "deep", "later version"],
)
def test_what_can_not_be_read_counts_as_never_asked(text: str | None) -> None:
    assert decode(text) is None


@pytest.mark.parametrize(
    ("capacity", "says"),
    [
        (Capacity((V4, V6)), None),
        (Capacity(()), None),
        (Capacity((SubnetRoom("a", "10.0.0.0/24", 0), V4)), None),
        (Capacity((SubnetRoom("a", "10.0.0.0/24", 0), V6)), "subnet a (10.0.0.0/24)"),
        (Capacity((V4, SubnetRoom("b", "fd00::/64", 0))), "subnet b (fd00::/64)"),
        (Capacity((V4,), ports=Limit(9, 10)), None),
        (Capacity((V4,), ports=Limit(10, 10)), "quota of 10 ports is used up"),
        (Capacity((V4,), ports=Limit(10, None)), None),
        (Capacity((V4,), ports=Limit(0, 0)), "quota of 0 ports"),
        (Capacity((V4,), pairs=Limit(10, 10)), "10 of 10 allowed address pairs"),
        (Capacity((V4,), pairs=Limit(9, 10)), None),
    ],
)
def test_there_is_room_where_each_family_has_an_address_and_no_limit_is_reached(
    capacity: Capacity, says: str | None
) -> None:
    missing = lack(capacity)
    assert (missing is None) == (says is None)
    if missing is not None and says is not None:
        assert missing.code == Code.EXHAUSTED
        assert says in missing.message
