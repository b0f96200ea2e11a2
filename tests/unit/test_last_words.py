"""Why an owner died that could not tell its supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.memory import layout, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState
from shmlog.supervisor.last_words import last_words


@pytest.fixture
def tag(tmp_path: Path) -> Iterator[str]:
    one = names.cluster_tag("words", str(tmp_path))
    page = ControlPage.create(one, 3, bytes(16), mode=0o600, group=None)
    page.mapping.store(layout.CTL_PID, 77)
    page.mapping.store(layout.CTL_STATE, OwnerState.OFFLINE)
    page.store_error_text("Input/output error: '00000000000000000000.log'")
    page.close()
    yield one
    region.sweep(one)


def state(tag: str, state: OwnerState) -> None:
    page = ControlPage.open(tag, 3, writable=True)
    page.mapping.store(layout.CTL_STATE, state)
    page.close()


def test_what_it_wrote_down_is_the_reason(tag: str) -> None:
    assert last_words(tag, 3, 77) == ("StorageError", "Input/output error: '00000000000000000000.log'")


def test_what_another_process_wrote_down_is_not(tag: str) -> None:
    assert last_words(tag, 3, 78)[0] == "StartError"


def test_one_that_ran_to_its_end_has_not_said_why(tag: str) -> None:
    state(tag, OwnerState.RUN)
    error, reason = last_words(tag, 3, 77)
    assert (error, "process 77) died without saying why" in reason) == ("StartError", True)


def test_without_a_page_nobody_knows(tag: str) -> None:
    assert last_words(tag, 4, 77)[0] == "StartError"
