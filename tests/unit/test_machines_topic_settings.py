"""What a topic's own settings become when some are changed, and which changes are refused."""

from __future__ import annotations

import pytest

from shmlog.errors import InvalidConfigError
from shmlog.machines.topic_settings import SettingsChange, altered_settings
from shmlog.settings import overrides


def test_settings_are_set_unset_appended_to_and_subtracted_from_in_one_change() -> None:
    own = {"retention.ms": "5", "segment.ms": "7"}
    change = SettingsChange({"retention_bytes": 9}, ["segment.ms"], {"cleanup.policy": "compact"})
    assert altered_settings(own, {}, change) == {
        "retention.ms": "5",
        "retention.bytes": "9",
        "cleanup.policy": "compact,delete",
    }
    less = altered_settings(
        {"cleanup.policy": "compact,delete"}, {}, SettingsChange(subtract={"cleanup.policy": "delete"})
    )
    assert less == {"cleanup.policy": "compact"}


@pytest.mark.parametrize(("cluster", "after"), [({}, "compact,delete"), ({"cleanup.policy": "compact"}, "compact")])
def test_a_list_is_appended_to_as_it_applies_wherever_it_comes_from(cluster: dict[str, str], after: str) -> None:
    change = SettingsChange(append={"cleanup.policy": ["compact"]})
    assert altered_settings({}, cluster, change) == {"cleanup.policy": after}


def test_to_take_from_a_list_what_it_does_not_have_changes_nothing() -> None:
    change = SettingsChange(subtract={"cleanup.policy": "compact"})
    assert altered_settings({"cleanup.policy": "delete"}, {}, change) == {"cleanup.policy": "delete"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (SettingsChange(append={"retention.ms": "5"}), "retention.ms is no list"),
        (SettingsChange(subtract={"retention.ms": "5"}), "retention.ms is no list"),
        (SettingsChange(append={"cleanup.policy": "shred"}), "cleanup.policy must be one or more of"),
        (SettingsChange(subtract={"cleanup.policy": "delete"}), "cleanup.policy would have nothing left"),
        (SettingsChange({"retention.ms": 5}, ["retention_ms"]), "retention.ms is changed twice"),
        (SettingsChange({"cleanup.policy": "delete"}, (), {"cleanup.policy": "compact"}), "is changed twice"),
        (SettingsChange({"retenton.ms": 5}), "did you mean 'retention.ms'"),
        (SettingsChange(unset=["retenton.ms"]), "did you mean 'retention.ms'"),
        (SettingsChange({"retention.ms": -2}), "retention.ms must be an integer from -1"),
        (SettingsChange({"max.compaction.lag.ms": 5, "min.compaction.lag.ms": 6}), "is larger than max.compaction.lag"),
        (
            SettingsChange({"segment.bytes": 1_048_575 + 1, "max.message.bytes": 1_048_589}),
            "would not fit into a segment",
        ),
        (SettingsChange({"shm.ring.bytes": 1}), "shm.ring.bytes must be 0 or at least"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(change: SettingsChange, said: str) -> None:
    with pytest.raises(InvalidConfigError, match=said):
        altered_settings({}, {}, change)


def test_what_did_not_go_together_before_does_not_keep_other_settings_from_being_changed() -> None:
    own = overrides("topic", {"min.compaction.lag.ms": 6, "max.compaction.lag.ms": 5})
    assert altered_settings(own, {}, SettingsChange({"retention.ms": 7})) == {**own, "retention.ms": "7"}
    with pytest.raises(InvalidConfigError, match="max.compaction.lag.ms"):
        altered_settings(own, {}, SettingsChange({"max.compaction.lag.ms": 4}))


def test_a_combination_is_judged_with_what_the_cluster_sets() -> None:
    with pytest.raises(InvalidConfigError, match="would not fit into a segment"):
        altered_settings({}, {"max.message.bytes": "2000000"}, SettingsChange({"segment.bytes": 1_048_576}))
