"""Patterns of topic names, within a bound of processor time.

Some regular expressions take exponential time on some names, such as (a+)+ on aaaaaaaaaaaaaaaaaaaaaaaaaaaa-b. A
coordinator has other groups to look after, so it gives up such a name. Python's matcher looks for signals while it
works; the timer counts the processor time of this process, so that a busy machine makes no pattern slow.
"""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Iterable

from shmlog.machines.group.topics import Matches

log = logging.getLogger(__name__)

NAME_S = 0.05
"""Processor time for one name; a simple pattern takes a millionth of a second."""
SLOW_MAX = 4
"""After so many names that took longer the rest is given up, too."""


class _TooLongError(Exception):
    """The timer has run out."""


class PatternMatcher:
    """Of a process: it takes its SIGVTALRM. Make and use it in the main thread."""

    def __init__(self) -> None:
        signal.signal(signal.SIGVTALRM, _time_is_over)

    def __call__(self, pattern: str, names: Iterable[str]) -> Matches:
        """Which of the names match as a whole; names that took too long are told apart, and logged."""
        matches = re.compile(pattern).fullmatch
        waiting, found, slow = sorted(names), set[str](), list[str]()
        at, tried_alone = 0, -1
        while at < len(waiting):
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, NAME_S)
                try:
                    while at < len(waiting):
                        if matches(waiting[at]):
                            found.add(waiting[at])
                        at += 1
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
            except _TooLongError:
                if tried_alone != at:  # perhaps all of them together took that long
                    tried_alone = at
                    continue
                slow.append(waiting[at])
                at += 1
                if len(slow) == SLOW_MAX:
                    slow += waiting[at:]
                    break
        if slow:
            log.warning("pattern %r takes too long on %d topics, such as %r: not matched", pattern, len(slow), slow[0])
        return Matches(frozenset(found), tuple(slow))


def _time_is_over(*_: object) -> None:
    raise _TooLongError
