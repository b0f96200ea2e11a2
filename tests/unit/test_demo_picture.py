"""The picture of README.md shows what a terminal shows in the end."""

from __future__ import annotations

from shmlog.tools.demo_picture import shown


def test_what_is_drawn_again_in_place_is_there_once() -> None:
    first = "\x1b[?25lone\r\ntwo\r\n\x1b[2mreading ...\x1b[0m"
    again = "\r\x1b[2K\x1b[1A\x1b[2K\x1b[1A\x1b[2K\x1b[1mONE\x1b[0m\r\nTWO\r\n\x1b[?25h"
    assert shown(first + again + "the end\r\n") == ["\x1b[1mONE\x1b[0m", "TWO", "the end"]


def test_lines_that_are_left_empty_stay_between_others_and_go_at_the_end() -> None:
    assert shown("a\r\n\r\nb\r\n\r\n\r\n") == ["a", "", "b"]
