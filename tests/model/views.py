"""Shared memory with release/acquire views: what a load may return on a machine that reorders more than x86.

Each location keeps the messages written to it in modification order. A view says, per location, the oldest message
that may still be read. A thread has three: what it has seen (`current`), what it would have seen had its relaxed loads
been acquiring (`acquired`; an acquire fence makes it current), and what its relaxed stores may pass on (`released`,
from its last release fence). A release store's message carries the thread's view, an acquire load joins it, a
read-modify-write takes the place right behind the message that it read and passes that one's view on (a release
sequence). A seq_cst fence joins one global view in both directions.

This is the promise-free part of the "promising semantics" (Kang et al., POPL 2017), which is RC11 (Lahav et al., PLDI
2017) as a machine. Stores to a location with several unordered writers may land anywhere in modification order that
coherence allows. Not modelled: load buffering (a load that takes its value from a store later in program order of
another thread, which waits for this very load), seq_cst accesses (the core has only seq_cst fences), mixed-size
accesses, and compilers that reorder atomics (gcc does not; kills would otherwise not leave prefixes).

Views and histories are interned: states hold small numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.model.operations import Location, Value, Violated

View = int
History = int


class Message(NamedTuple):
    value: Value
    view: View
    attached: bool  # a read-modify-write that read the message before it: nothing comes between the two


class Memory:
    """The interned views and histories of one model, and what accesses do to them.

    Locations not in `shared` have one writer at a time: each store must have seen the last one, or is a violation.
    """

    def __init__(self, initial: dict[Location, Value], shared: frozenset[Location]) -> None:
        self.locations = list(initial)
        self.number = {location: k for k, location in enumerate(initial)}
        self.is_shared = [location in shared for location in initial]
        self._views: dict[tuple[int, ...], View] = {}
        self._view_list: list[tuple[int, ...]] = []
        self._joins: dict[tuple[View, View], View] = {}
        self._histories: dict[tuple[Message, ...], History] = {}
        self.history: list[tuple[Message, ...]] = []
        self.bottom = self._intern(tuple(0 for _ in initial))
        self.start = tuple(self._keep((Message(value, self.bottom, False),)) for value in initial.values())

    def _intern(self, view: tuple[int, ...]) -> View:
        known = self._views.get(view)
        if known is None:
            known = self._views[view] = len(self._view_list)
            self._view_list.append(view)
        return known

    def _keep(self, messages: tuple[Message, ...]) -> History:
        known = self._histories.get(messages)
        if known is None:
            known = self._histories[messages] = len(self.history)
            self.history.append(messages)
        return known

    def only(self, value: Value) -> History:
        """The history of a private location: its last value."""
        return self._keep((Message(value, self.bottom, False),))

    def join(self, a: View, b: View) -> View:
        if a == b:
            return a
        pair = (a, b) if a < b else (b, a)
        joined = self._joins.get(pair)
        if joined is None:
            joined = self._intern(tuple(map(max, self._view_list[a], self._view_list[b])))
            self._joins[pair] = joined
        return joined

    def seen(self, view: View, location: int) -> int:
        """Index of the oldest message of the location that a thread with this view may read."""
        return self._view_list[view][location]

    def bump(self, view: View, location: int, index: int) -> View:
        old = self._view_list[view]
        if old[location] >= index:
            return view
        return self._intern((*old[:location], index, *old[location + 1 :]))

    def places(self, history: History, location: int, view: View, who: str) -> Iterator[int]:
        """Where a store may land in modification order."""
        messages = self.history[history]
        first = self._view_list[view][location] + 1
        if not self.is_shared[location] and first != len(messages):
            raise Violated(f"{who} overwrites {self.locations[location]} without having seen its last value")
        for place in range(first, len(messages) + 1):
            if place == len(messages) or not messages[place].attached:
                yield place

    # --- a store in the middle of modification order: every index behind it moves up ---------------------------------

    def shift_view(self, view: View, location: int, place: int) -> View:
        old = self._view_list[view]
        if old[location] < place:
            return view
        return self._intern((*old[:location], old[location] + 1, *old[location + 1 :]))

    def shift_history(self, history: History, location: int, place: int) -> History:
        return self._keep(
            tuple(
                message._replace(view=self.shift_view(message.view, location, place))
                for message in self.history[history]
            )
        )

    def insert(self, history: History, place: int, message: Message) -> History:
        messages = self.history[history]
        return self._keep((*messages[:place], message, *messages[place:]))

    def last(self, history: History) -> Any:
        return self.history[history][-1].value
