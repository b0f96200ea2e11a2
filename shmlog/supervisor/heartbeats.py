"""Workers that live and do nothing: stopped, or stuck. They are killed, and then replaced as if they had died."""

from __future__ import annotations

from shmlog.errors import ShmlogError
from shmlog.limits import STARTING_SILENCE_S
from shmlog.machines.replication import Silent, Spoiled
from shmlog.machines.supervision import Standing, Unanswered
from shmlog.memory.control_page import ControlPage
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.lanes import Lanes
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.owners import Owner, Owners
from shmlog.supervisor.worker import Worker

LOOK_EVERY_S = 5.0


class Heartbeats:
    """Looks at the heartbeats that owners keep in their control pages and followers in their replica regions, for
    `owner.unresponsive.ms`.

    An idle owner's heart beats seldom, so one that has not beaten for that long is rung first; only if it then stays
    still for as long again is it stuck. An owner that owes an answer is not idle and has been rung already. One that
    closes is watched like one that runs, or a stopped one would keep the cluster from ever being down. One that starts
    has no page that is its own, or no region; it sends word as long as its recovery gets on, however long that takes.

    A follower whose region says what cannot be is replaced, too: the next one makes it anew.

    The zygote has no page; it is asked, and answers.
    """

    def __init__(
        self, loop: Loop, identity: ClusterIdentity, owners: Owners, followers: Followers, lanes: Lanes
    ) -> None:
        self._loop = loop
        self._tag = identity.cid8
        self._owners = owners
        self._followers = followers
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
        self._owners.zygote.look(self._patience_ns)
        self._look_at_owners()
        self._look_at_followers()

    def _look_at_owners(self) -> None:
        watched = {owner.partition_id: owner for owner in self._owners.all_watched()}
        owed = {waiting.partition_id: waiting.since_ns for waiting in self._lanes.unanswered()}
        for partition_id, since_ns in owed.items():
            owner = watched.get(partition_id)
            beat_ns = 0 if owner is None else self._beat_ns(owner)
            self._owners.observe(Unanswered(partition_id, max(since_ns, beat_ns)))
        for owner in watched.values():
            since = self._silent_since_ns(owner, self._beat_ns(owner))
            if since is not None:
                self._owners.observe(Unanswered(owner.partition_id, since))
        for owner in self._owners.all_starting():
            if self._stands_still(owner):
                self._owners.observe(Standing(owner.partition_id, owner.progress_ns))

    def _look_at_followers(self) -> None:
        for follower in self._followers.all_ready():
            assert follower.region is not None, "it is mapped when it is ready"
            fault = follower.region.fault(follower.pid, self._loop.now_ns())
            if fault:
                self._followers.observe(Spoiled(*follower.key, fault))
                continue
            since = self._silent_since_ns(follower, follower.region.heartbeat_ns)
            if since is not None:
                self._followers.observe(Silent(*follower.key, since))
        for follower in self._followers.all_starting():
            if self._stands_still(follower):
                self._followers.observe(Silent(*follower.key, follower.progress_ns))

    def _silent_since_ns(self, worker: Worker, beat_ns: int) -> int | None:
        """Since when it has shown no sign of life though it was rung; None: it has, or is only rung now."""
        now_ns = self._loop.now_ns()
        if beat_ns == 0 or now_ns - beat_ns < self._patience_ns or beat_ns > (worker.rung_ns or now_ns):
            worker.rung_ns = None
        elif worker.rung_ns is None:
            worker.rung_ns = now_ns
            worker.ring()
        else:
            return worker.rung_ns
        return None

    def _stands_still(self, worker: Worker) -> bool:
        """Whether one that starts does not get on, which it would say by itself. It is given as long again: perhaps
        nobody ran."""
        patience_ns = max(self._patience_ns, int(STARTING_SILENCE_S * 1e9))
        now_ns = self._loop.now_ns()
        if now_ns - worker.progress_ns < patience_ns:
            worker.rung_ns = None
        elif worker.rung_ns is None:
            worker.rung_ns = now_ns
        return worker.rung_ns is not None and now_ns - worker.rung_ns >= patience_ns

    def _beat_ns(self, owner: Owner) -> int:
        """When its heart last beat; 0 if it has no control page. An owner that is ready keeps the page that it has, so
        it is mapped once: with many partitions that is most of what a look costs."""
        if owner.page is None:
            try:
                owner.page = ControlPage.open(self._tag, owner.partition_id)
            except (OSError, ShmlogError):
                return 0
        return owner.page.heartbeat_ns
