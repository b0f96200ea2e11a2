"""Where the leader's segments begin, as far as its control page tells: the newest, and that it is the next one."""

from __future__ import annotations

from shmlog.memory import layout
from shmlog.native.mapping import Mapping


class SegmentTurns:
    """What a follower knows of the leader's rolls. Look after reading a limit of what is written, never before.

    The leader stores a segment's slot, then the turn, and then no byte is in that segment before `written` moves. So a
    follower whose limit is from before its look has seen every roll in front of that limit.
    """

    def __init__(self, page: Mapping) -> None:
        self._page = page
        self._known = 0

    def newest(self) -> int | None:
        """The base offset of the segment that the leader writes to, from which look() goes on; None: ask again."""
        self._known = self._page.load(layout.CTL_SEGMENT_TURN)
        return self._base_of(self._known)

    def look(self) -> tuple[int, ...] | None:
        """The base offsets of the segments that were begun since the last look: one at most.

        None if there were more, of which only the leader's files can tell: go on with newest() then.
        """
        turn = self._page.load(layout.CTL_SEGMENT_TURN)  # SYNC POINT segment-turn-look: pairs with segment-turn
        if turn == self._known:
            return ()
        is_next, self._known = turn == self._known + 1, turn
        base_offset = self._base_of(turn) if is_next else None
        return None if base_offset is None else (base_offset,)

    def _base_of(self, turn: int) -> int | None:
        base_offset = self._page.load(layout.CTL_SEGMENT_SLOTS + 16 * (turn & 1))
        # SYNC POINT segment-turn-again: pairs with segment-turn. The slot is stored for the turn after the next one
        # only once the next one is there to be seen.
        return base_offset if self._page.load(layout.CTL_SEGMENT_TURN) == turn else None
