"""Workers that live and do nothing: stopped, or stuck. They are killed, and then replaced as if they had died."""

from __future__ import annotations

from shmlog.errors import ShmlogError
from shmlog.limits import STARTING_SILENCE_S
from shmlog.machines.supervision import Standing, Unanswered
from shmlog.memory.control_page import ControlPage
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.lanes import Lanes
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.owners import Owner, Owners

LOOK_EVERY_S = 5.0


class Heartbeats:
    """Looks at the heartbeat that every owner keeps in its control page, for `owner.unresponsive.ms`.

    An idle owner's heart beats seldom, so one that has not beaten for that long is rung first; only if it then stays
    still for as long again is it stuck. An owner that owes an answer is not idle and has been rung already. One that
    closes is watched like one that runs, or a stopped one would keep the cluster from ever being down. One that starts
    has no page that is its own; it sends word as long as its recovery gets on, however long that takes.

    The zygote has no page; it is asked, and answers.
    """

    def __init__(self, loop: Loop, identity: ClusterIdentity, owners: Owners, lanes: Lanes) -> None:
        self._loop = loop
        self._tag = identity.cid8
        self._owners = owners
        self._lanes = lanes
        self._patience_ns = identity.config.owner_unresponsive_ms * 1_000_000

    def start(self) -> None:
        """Look from now on, unless the setting says never."""
        if self._patience_ns:
            self._loop.call_in(min(LOOK_EVERY_S, self._patience_ns / 2e9), self._look_and_come_back)

    def _look_and_come_back(self) -> None:
        self.look()
        self.start()

    def look(self) -> None:
        watched = {owner.partition_id: owner for owner in self._owners.all_watched()}
        owed = {waiting.partition_id: waiting.since_ns for waiting in self._lanes.unanswered()}
        for partition_id, since_ns in owed.items():
            owner = watched.get(partition_id)
            beat_ns = 0 if owner is None else self._beat_ns(owner)
            self._owners.observe(Unanswered(partition_id, max(since_ns, beat_ns)))
        self._owners.zygote.look(self._patience_ns)
        for owner in watched.values():
            now_ns, beat_ns = self._loop.now_ns(), self._beat_ns(owner)
            if beat_ns == 0 or now_ns - beat_ns < self._patience_ns or beat_ns > (owner.rung_ns or now_ns):
                owner.rung_ns = None
            elif owner.rung_ns is None:
                owner.rung_ns = now_ns
                owner.ring()
            else:
                self._owners.observe(Unanswered(owner.partition_id, owner.rung_ns))
        self._look_at_those_that_start()

    def _look_at_those_that_start(self) -> None:
        """They say by themselves that they get on. One that did not is given as long again: perhaps nobody ran."""
        patience_ns = max(self._patience_ns, int(STARTING_SILENCE_S * 1e9))
        for owner in self._owners.all_starting():
            now_ns = self._loop.now_ns()
            if now_ns - owner.progress_ns < patience_ns:
                owner.rung_ns = None
            elif owner.rung_ns is None:
                owner.rung_ns = now_ns
            elif now_ns - owner.rung_ns >= patience_ns:
                self._owners.observe(Standing(owner.partition_id, owner.progress_ns))

    def _beat_ns(self, owner: Owner) -> int:
        """When its heart last beat; 0 if it has no control page. An owner that is ready keeps the page that it has, so
        it is mapped once: with many partitions that is most of what a look costs."""
        if owner.page is None:
            try:
                owner.page = ControlPage.open(self._tag, owner.partition_id)
            except (OSError, ShmlogError):
                return 0
        return owner.page.heartbeat_ns
