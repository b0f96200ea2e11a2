"""The plan of a torture follows from its seed, and a profile says what it may be made of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest

from shmlog.cli.torture.faults import KINDS
from shmlog.cli.torture.plan import Fault, make_plan, plan_from_json
from shmlog.cli.torture.profile import Profile, load_profile, profile_text
from shmlog.errors import InvalidConfigError

RATES = Profile().faults


def test_a_seed_makes_the_same_plan_every_time_and_another_seed_another() -> None:
    assert make_plan(7, 30.0, RATES) == make_plan(7, 30.0, RATES)
    assert make_plan(7, 30.0, RATES).faults != make_plan(8, 30.0, RATES).faults


def test_every_kind_with_a_rate_happens_as_often_as_that_and_at_least_once() -> None:
    rates = {**RATES, "kill_owner": 40.0, "kill_zygote": 0.1, "disk_full": 0.0}
    found = Counter(fault.kind for fault in make_plan(1, 30.0, rates).faults)
    assert (found["kill_owner"], found["kill_zygote"], found["disk_full"]) == (20, 1, 0)
    assert set(found) == KINDS.keys() - {"disk_full"}


def test_faults_come_in_order_and_inside_the_run() -> None:
    plan = make_plan(3, 10.0, RATES)
    times = [fault.at_s for fault in plan.faults]
    assert times == sorted(times)
    assert times[0] >= 0.5
    assert times[-1] <= 9.5


def test_another_rate_of_one_kind_leaves_the_others_where_they_were() -> None:
    def others(rate: float) -> list[Fault]:
        plan = make_plan(5, 30.0, {**RATES, "kill_owner": rate})
        return [fault for fault in plan.faults if fault.kind != "kill_owner"]

    assert others(10.0) == others(100.0)


def test_clocks_are_set_in_their_directions_and_a_profile_without_them_leaves_the_rest_as_it_was() -> None:
    faults = make_plan(9, 60.0, RATES).faults
    jumps = {kind: [fault.jump_s for fault in faults if fault.kind == kind] for kind in ("clock_back", "clock_forward")}
    assert all(jumps.values())
    assert max(jumps["clock_back"]) < 0 < min(jumps["clock_forward"])
    assert all(fault.jump_s == 0 for fault in faults if KINDS[fault.kind].group != "clock")
    without = make_plan(9, 60.0, {**RATES, "clock_back": 0.0, "clock_forward": 0.0}).faults
    assert list(without) == [fault for fault in faults if KINDS[fault.kind].group != "clock"]


def test_a_printed_plan_can_be_replayed() -> None:
    plan = make_plan(11, 20.0, RATES)
    assert plan_from_json(orjson.loads(orjson.dumps(plan.as_json()))) == plan
    assert "kill_owner" in str(next(fault for fault in plan.faults if fault.kind == "kill_owner"))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([], "a plan is an object"),
        (
            {"seed": 1, "seconds": 2.0, "faults": [{"at_s": 1, "kind": "kil_owner", "target": 0}]},
            "did you mean 'kill_owner'",
        ),
        ({"seed": 1, "seconds": 2.0, "faults": [{"when": 1}]}, "not a plan"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_reason(given: object, complaint: str) -> None:
    with pytest.raises(InvalidConfigError, match=complaint):
        plan_from_json(given)


# --- profiles ---------------------------------------------------------------------------------------------------------


def profile(tmp_path: Path, text: str) -> Profile:
    file = tmp_path / "profile.toml"
    file.write_text(text)
    return load_profile(str(file))


def test_without_a_file_the_defaults_hold_and_the_printed_profile_means_the_same(tmp_path: Path) -> None:
    assert load_profile(None) == Profile()
    printed = profile(tmp_path, profile_text(Profile()))
    assert profile_text(printed) == profile_text(Profile())


def test_a_profile_says_what_is_different(tmp_path: Path) -> None:
    text = """
        producers = 2
        [faults]
        kill_owner = 120
        [cluster]
        owner.unresponsive.ms = 3000
        [producer]
        "linger.ms" = 5
        [topics.orders]
        partitions = 3
        flush.messages = 1
    """
    found = profile(tmp_path, text)
    assert (found.producers, found.consumers) == (2, Profile().consumers)
    assert found.faults == {**RATES, "kill_owner": 120.0}
    assert found.cluster["owner.unresponsive.ms"] == 3000
    assert found.producer == {"linger.ms": 5}
    assert list(found.topics) == ["orders"]
    assert found.topics["orders"].partitions == 3
    assert found.topics["orders"].config["flush.messages"] == "1"
    assert found.topics["orders"].config["retention.ms"] == "-1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("producer = 3", r"producer must be a table: write \[producer\]"),
        ("producrs = 3", "unknown key 'producrs': did you mean 'producers'"),
        ("producers = 0", "producers must be a number from 1 to 64, not 0"),
        ("producers = true", "producers must be a number"),
        ("faults = 3", r"faults must be a table: write \[faults\]"),
        ("[faults]\nkill_owners = 1", "unknown fault 'kill_owners': did you mean 'kill_owner'"),
        ("[faults]\nkill_owner = -1", "kill_owner must be a rate per minute"),
        ("[cluster]\nowner.unresponsiv.ms = 1", "did you mean 'owner.unresponsive.ms'"),
        ("[producer]\nacks = 5", "acks must be all, 0 or 1"),
        ("[topics.a]\nflush.mesages = 1", "did you mean 'flush.messages'"),
        ("[topics.a]\nretention.ms = 1000", "must stay -1"),
        ("[topics.A_B]\npartitions = 1", "topic 'A_B'"),
        ("[topics.a]\npartitions = 0", "partitions must be a number from 1 to 64"),
        ("record_bytes_max = 100000", "more than half of max.message.bytes 65536"),
        ("producers = ", "Invalid value"),
    ],
)
def test_a_mistake_in_a_profile_names_the_file_and_the_remedy(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InvalidConfigError, match=complaint) as caught:
        profile(tmp_path, text)
    assert "profile.toml" in str(caught.value)


def test_a_malformed_profile_is_refused_by_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("producers = 2\nconsumers = = 3\n")
    with pytest.raises(InvalidConfigError, match=r"mine\.toml, line 2, column 13: "):
        load_profile(str(file))


def test_a_profile_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidConfigError, match=r"cannot read the profile /nowhere/x\.toml"):
        load_profile("/nowhere/x.toml")
