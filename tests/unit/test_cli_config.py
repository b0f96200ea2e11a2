"""`shmlog config`: settings are found by their names alone."""

from __future__ import annotations

import pytest

from shmlog.cli import main as cli


@pytest.mark.parametrize(
    ("setting", "homes"),
    [
        ("retention.ms", ["topic"]),
        ("disk.reserve.bytes", ["cluster"]),
        ("group_id", ["consumer"]),
        ("compression.type", ["topic", "producer"]),
    ],
)
def test_a_setting_is_explained_in_each_scope_that_has_it(
    setting: str, homes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["config", "explain", setting]) == 0
    name = setting.replace("_", ".")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{name} (")]
    assert [line.partition(": ")[0] for line in said] == [f"{name} ({home})" for home in homes]


def test_a_scope_that_is_asked_for_is_the_only_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["config", "explain", "compression.type", "--scope", "producer"]) == 0
    assert "(topic)" not in capsys.readouterr().out
    assert cli.run(["config", "explain", "acks", "--scope", "topic"]) == 1
    assert "it belongs to the producer" in capsys.readouterr().err


def test_a_name_that_is_no_setting_says_where_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["config", "explain", "xyzzy"]) == 1
    said = "error: unknown topic setting 'xyzzy': `shmlog config list --scope topic` shows what there is\n"
    assert capsys.readouterr().err == said
