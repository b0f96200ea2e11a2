"""The lanes of one producer over time: what a lane that ended did not publish goes into its successor, in order.

A lane may be closed by its owner at any time (30 s of silence, a stop), or stopped at a batch that was refused. One
that is full ends by itself, and a larger one follows when everything in it is published. All of this can be interrupted
where it sleeps, and goes on with the next call. Used under `lock`.
"""

from __future__ import annotations

import time
from functools import partial

from shmlog.client.lanes import LaneOpener
from shmlog.client.sleeper import Sleeper, SleeperLock
from shmlog.errors import LaneQuarantinedError, ShmlogError, UnknownTopicOrPartitionError
from shmlog.memory.layout import LaneState
from shmlog.native.lane import LaneWriter
from shmlog.native.succession import adopt, finish
from shmlog.native.topic_lanes import TopicLanes


class LaneSuccession:
    """`topics` are the lanes in use, by topic: the compiled send path looks there, and finds what is put there."""

    def __init__(
        self, topics: dict[str, TopicLanes], opener: LaneOpener, sleeper: Sleeper, delivery_timeout_s: float
    ) -> None:
        self.lock = SleeperLock(sleeper)
        self._topics = topics
        self._opener = opener
        self._sleeper = sleeper
        self._delivery_timeout_s = delivery_timeout_s
        self._retired: list[LaneWriter] = []  # replaced lanes with batches that are published but not acknowledged
        self._successors: dict[LaneWriter, LaneWriter] = {}  # of closed lanes that are being emptied
        self._sent = {"records": 0, "bytes": 0, "batches": 0, "failed_batches": 0}  # by lanes that are gone

    # --- one lane after the other -------------------------------------------------------------------------------------

    def attend(self, lane: LaneWriter) -> LaneWriter:
        """A lane wants attention: bring what it holds into another one, or fail it. Returns the lane to go on with."""
        with self.lock:
            lanes = self._topics.get(lane.topic)
            if lanes is None:
                raise _deleted(lane.topic)  # another thread found out
            current = lanes.lanes[lane.partition]
            if current is not lane and current is not None:
                return current  # another thread was faster
            if lane.state == LaneState.OPEN and not self._opener.is_deleted(lane):
                self._opener.close(lane)  # a batch was refused, and its owner died before it could stop the lane
            deadline = time.monotonic() + self._delivery_timeout_s
            if not self._sleeper.until(lambda: _has_ended(lane) or self._opener.is_deleted(lane), deadline):
                raise self._opener.timeout(
                    lane.topic,
                    lane.partition,
                    f"{lane.topic}-{lane.partition} did not finish closing a lane for {self._delivery_timeout_s:g} s"
                    " (delivery.timeout.ms): the outcome of the records that were sent last is unknown"
                    f"{self._opener.reason(lane)}",
                )
            if self._opener.is_deleted(lane):
                raise self._give_up(lanes)
            successor = lanes.lanes[lane.partition] = self._succeed(lane, deadline)
            self._put_aside(lane)
            return successor

    def _give_up(self, lanes: TopicLanes) -> UnknownTopicOrPartitionError:
        """Let go of a topic that was deleted, with all of its lanes; what they hold fails with the error returned."""
        error = _deleted(lanes.topic)
        retired = [lane for lane in self._retired if lane.topic == lanes.topic]
        self._retired = [lane for lane in self._retired if lane.topic != lanes.topic]
        successors = [successor for lane, successor in self._successors.items() if lane.topic == lanes.topic]
        self._successors = {lane: to for lane, to in self._successors.items() if lane.topic != lanes.topic}
        self._topics.pop(lanes.topic, None)
        for lane in dict.fromkeys([*retired, *lanes.lanes, *successors]):
            if lane is not None:
                lane.reclaim()
                lane.abandon(error)
                self._retire(lane)
        return error

    def _succeed(self, lane: LaneWriter, deadline: float) -> LaneWriter:
        """Open the successor of a lane that is closed, stopped or quarantined, and hand over what was not published.

        Whatever interrupts this (Ctrl-C, `deadline`), the old lane stays in its place with what it still holds, and the
        next call goes on with the same successor.
        """
        lane.reclaim()
        if lane.state == LaneState.QUARANTINED:
            lane.abandon(
                LaneQuarantinedError(
                    f"the owner of {lane.topic}-{lane.partition} found bytes in this lane that make no sense,"
                    f" and {len(lane.unpublished())} batches were not delivered: something in this process wrote to the"
                    " lane's memory"
                )
            )
        successor = self._successors.get(lane)
        if successor is None:
            if lane.state != LaneState.CLOSED:
                self._opener.raise_epoch()
            successor = self._successors[lane] = self._opener.open(lane.topic, lane.partition, after=lane)
        for batch in lane.unpublished():
            while not adopt(successor, lane, batch):
                if not self._sleeper.until(partial(self._has_moved, successor), deadline):
                    raise self._opener.timeout(
                        lane.topic,
                        lane.partition,
                        f"no room in the new lane to {lane.topic}-{lane.partition} for what the one before it held, for"
                        f" {self._delivery_timeout_s:g} s (delivery.timeout.ms): {len(lane.unpublished())} batches wait"
                        f" for the next call of this producer{self._opener.reason(successor)}",
                    )
                if self._opener.is_deleted(successor):
                    raise self._give_up(self._topics[lane.topic])
                if _has_ended(successor):  # what it did not publish comes first
                    ended = successor
                    successor = self._successors[lane] = self._succeed(ended, deadline)
                    self._put_aside(ended)
        return successor

    def _put_aside(self, lane: LaneWriter) -> None:
        """The lane's successor stands in its place: it goes once what it published is acknowledged."""
        del self._successors[lane]
        if lane.pending:
            self._retired.append(lane)
            return
        if lane.state != LaneState.CLOSED:
            self._opener.close(lane)
        self._retire(lane)

    def _has_moved(self, lane: LaneWriter) -> bool:
        return lane.reclaim() > 0 or _has_ended(lane) or self._opener.is_deleted(lane)

    def _dismiss(self, lane: LaneWriter) -> None:
        """Not before everything in it is acknowledged. A replica that takes over with losses sends lanes back, but only
        those that their owner has; what it lacks of others would be confirmed as soon as other records are there."""
        self._opener.dismiss(lane)
        self._retire(lane)

    def _retire(self, lane: LaneWriter) -> None:
        self._opener.forget(lane)
        for name in self._sent:
            self._sent[name] += getattr(lane, name)
        lane.close()

    def enlarge(self, lane: LaneWriter) -> bool:
        """Put a larger lane in the place of one that is full. True: another lane than `lane` stands there now. False:
        it is as large as they get, or the larger one is not granted yet, or `lane` holds what must be published first.

        A lane that no record fits into is refused by raising. One that would only be faster is done without.
        """
        with self.lock:
            lanes = self._topics.get(lane.topic)
            if lanes is None or lanes.lanes[lane.partition] is not lane:
                return True
            if lane.attention or self._opener.is_deleted(lane) or not self._opener.larger(lane) or not finish(lane):
                return False
            lanes.lanes[lane.partition] = self._opener.open(lane.topic, lane.partition, after=lane)
            if lane.pending:
                self._retired.append(lane)
            else:
                self._dismiss(lane)
            return True

    # --- all of them --------------------------------------------------------------------------------------------------

    def settle(self, given_up: list[ShmlogError]) -> None:
        """Collect acknowledgements, attend to lanes that need it, add the errors of topics whose records are lost."""
        with self.lock:
            for lanes in list(self._topics.values()):
                for lane in lanes.lanes:
                    if lane is not None:
                        lane.reclaim()
                        if self._opener.is_deleted(lane):
                            held = any(other.topic == lanes.topic for other in self.pending())
                            error = self._give_up(lanes)
                            given_up += [error] if held else []
                            break
                        if lane.attention or (lane.state != LaneState.OPEN and lane.unpublished()):
                            self.attend(lane)
            for lane in list(self._retired):
                lane.reclaim()
                if not lane.pending:
                    self._retired.remove(lane)
                    self._dismiss(lane)

    def pending(self) -> list[LaneWriter]:
        """Lanes with batches that are not acknowledged."""
        return [lane for lane in self._lanes() if lane.pending]

    def counts(self) -> dict[str, int]:
        """What all lanes have sent, those that are gone included; batches that are pending; lanes."""
        lanes = self._lanes()
        sent = {name: self._sent[name] + sum(int(getattr(lane, name)) for lane in lanes) for name in self._sent}
        return {**sent, "pending_batches": sum(lane.pending for lane in lanes), "lanes": len(lanes)}

    def _lanes(self) -> list[LaneWriter]:
        in_use = [lane for lanes in self._topics.values() for lane in lanes.lanes if lane is not None]
        return [*in_use, *self._retired]

    def close(self) -> None:
        """Let go of all lanes. What they hold stays there for their owners, and is not waited for again."""
        for lanes in self._topics.values():
            for lane in lanes.lanes:
                if lane is not None:
                    lane.reclaim()
                    self._opener.release(lane, wait=not lane.unpublished())
                    lane.close()
        for lane in self._retired:
            self._opener.dismiss(lane)
            lane.close()
        self._topics.clear()


def _has_ended(lane: LaneWriter) -> bool:
    return lane.state in (LaneState.CLOSED, LaneState.STOPPED, LaneState.QUARANTINED)


def _deleted(topic: str) -> UnknownTopicOrPartitionError:
    return UnknownTopicOrPartitionError(f"topic {topic!r} was deleted: its last records were not delivered")
