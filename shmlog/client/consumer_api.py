"""What a user's program reads records with, as a Protocol: see client.api for what holds for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from shmlog.client.group_options import RebalanceCallback
from shmlog.model import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition, Watermarks
from shmlog.native.columns import RecordColumns
from shmlog.native.records import Record


class Consumer(Protocol):
    """Reads records of the partitions of its topics, each partition in order. Not for several threads at once.

    Iterating gives one record after the other and waits for new ones; with `consumer_timeout_ms` the iteration ends
    when nothing has come for that long.

    With `group_id` the consumer is a member of a group, which shares the partitions of its topics: each goes to one
    member. The group remembers how far it has read (it commits), and goes on there whoever dies. Without, positions
    live in this object, and nothing is committed.

    Members hear of changes when they ask for records: poll(), or the next record of a loop, after max_poll_records of
    them at the latest. With `enable_auto_commit` a record is committed once the application asks for more: for the next
    poll, or for the record after so many. If a `with` block ends with an exception, the record that was given out last
    is not, nor is any of a list. Who does not ask for max_poll_interval_ms is fenced: its partitions go to others, and
    its next call says so.

    `for` and `async for`, poll() and apoll() go on where the last one stopped. Tasks of one event loop may share a
    consumer: each record goes to one of them; in a group they commit() themselves.
    """

    def __iter__(self) -> Iterator[Record]: ...

    def __next__(self) -> Record: ...

    def __aiter__(self) -> AsyncIterator[Record]: ...

    async def __anext__(self) -> Record: ...

    def poll(self, max_records: int | None = None, timeout: float | None = 0.0) -> list[Record]:
        """Up to `max_records` (default `max_poll_records`) records; waits up to `timeout` seconds for the first.

        Empty if there were none. Raises OffsetOutOfRangeError with auto_offset_reset="none" when the position is not in
        the log, and LogTruncationError when the log was cut below it and others may have these offsets now;
        UnknownTopicOrPartitionError when a topic was deleted, CorruptRecordError, SerializationError; the position
        stays where it was, so that seek() can step over. With another auto_offset_reset, reading goes on there instead,
        or where the log was cut, and a warning is logged.
        """

    async def apoll(
        self,
        max_records: int | None = None,
        timeout: float | None = 0.0,  # noqa: ASYNC109  # as of poll(): no records in time is not an error
    ) -> list[Record]:
        """poll(), for a task. Cancelled, it has taken nothing: the next call gives the same records."""

    def poll_columns(self, max_records: int | None = None, timeout: float | None = 0.0) -> RecordColumns:
        """Records of one partition as arrays, without an object for any of them; waits up to `timeout` seconds.

        At most `max_records`; without a limit one fetch, about `fetch_max_bytes`. False if there were none. Keys and
        values are bytes: deserializers are not asked. Errors and positions as in poll(), with which it may alternate.
        """

    async def apoll_columns(
        self,
        max_records: int | None = None,
        timeout: float | None = 0.0,  # noqa: ASYNC109  # as of apoll()
    ) -> RecordColumns:
        """poll_columns(), for a task."""

    def batches(self, max_records: int | None = None, max_wait_ms: int = 100) -> Iterator[list[Record]]:
        """Lists of up to `max_records` (default `max_poll_records`) records, which wait up to `max_wait_ms` after their
        first record to become full. Ends when nothing has come for `consumer_timeout_ms`.
        """

    def subscribe(
        self,
        topics: str | Sequence[str],
        on_assign: RebalanceCallback | None = None,
        on_revoke: RebalanceCallback | None = None,
        on_lost: RebalanceCallback | None = None,
    ) -> None:
        """Read these topics from now on. In a group a topic that begins with ^ is a regular expression, and stands for
        all topics whose whole names match, those to come included; topics that do not exist yet are waited for.

        The callbacks get (consumer, partitions) in the thread that polls, between records: `on_assign` when it has got
        some, and may seek(); `on_revoke` before it gives some up, and may commit(); `on_lost` when others have them
        already (by default `on_revoke`). They may close() and unsubscribe(). What they raise comes out of the poll,
        after everything was done."""

    def unsubscribe(self) -> None:
        """Read nothing from now on, and leave the group."""

    def subscription(self) -> set[str]:
        """The topics, or the pattern, that this member of a group is subscribed to."""

    @property
    def member_id(self) -> str | None:
        """What the group calls this member; another one after it was fenced. None: it is in no group."""

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read exactly these partitions from now on, instead of topics with all their partitions.

        With `group_id` from where the group has committed; as no member of it, which may commit while it has none.
        """

    def commit(
        self,
        offsets: Record | Mapping[TopicPartition, int | OffsetAndMetadata] | None = None,
        *,
        asynchronous: bool = False,
        timeout: float | None = 60.0,
    ) -> None:
        """Remember for the group how far it has read: everything that was given out so far; up to a record, that one
        included; or up to given offsets, which are those of the next records.

        Returns when the group's coordinator has it in its log, all or nothing. With `asynchronous` it is stored in this
        process's shared memory, in a quarter of a microsecond, where the coordinator finds it also after a SIGKILL.
        Raises CommitFailedError for a partition that is another member's, MaxPollExceededError or UnknownMemberError if
        this consumer is no member any more, CoordinatorNotAvailableError after `timeout`, OffsetMetadataTooLargeError.
        """

    async def acommit(
        self,
        offsets: Record | Mapping[TopicPartition, int | OffsetAndMetadata] | None = None,
        *,
        timeout: float | None = 60.0,  # noqa: ASYNC109  # as of commit()
    ) -> None:
        """commit(), for a task. Cancelled, it may have committed."""

    def committed(
        self, *partitions: TopicPartition, timeout: float | None = 60.0
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """What the group has committed of these partitions, without arguments of the assigned ones; None: nothing."""

    async def acommitted(
        self,
        *partitions: TopicPartition,
        timeout: float | None = 60.0,  # noqa: ASYNC109  # as of committed()
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """committed(), for a task."""

    def assignment(self) -> set[TopicPartition]:
        """The partitions that are read."""

    def position(self, partition: TopicPartition) -> int:
        """The offset of the next record that this consumer will get from `partition`."""

    def seek(self, partition: TopicPartition, offset: int, leader_epoch: int | None = None) -> None:
        """Go on at `offset`. Whether it is in the log shows at the next read.

        `leader_epoch` is that of the record before it, from which a consumer that was started again knows whether the
        log has been cut since: `seek(partition, record.offset + 1, leader_epoch=record.leader_epoch)`.
        """

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go on at the first record that is still there; without arguments, in all assigned partitions."""

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Go on after the last record; without arguments, in all assigned partitions."""

    def offsets_for_times(
        self, times_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """The first record at or after a time (ms since 1970) in each partition; None where all are older."""

    def watermarks(self, partition: TopicPartition) -> Watermarks:
        """The range of offsets that can be read now: `low` is the first, `high` one after the last."""

    def lag(self) -> dict[TopicPartition, int]:
        """How many records each assigned partition has beyond this consumer's position."""

    def lag_seconds(self) -> dict[TopicPartition, float]:
        """How old the next record of each assigned partition is; 0.0 where there is none to come."""

    def pause(self, *partitions: TopicPartition) -> None:
        """Give no records of these partitions until resume(); their positions stay."""

    def resume(self, *partitions: TopicPartition) -> None:
        """Take pause() back."""

    def paused(self) -> set[TopicPartition]:
        """The partitions that are paused."""

    def metrics(self) -> dict[str, int | float]:
        """Counts since the consumer was made."""

    def close(self) -> None:
        """Stop reading and let go; a member of a group commits what it is done with, and leaves. Tasks that wait for
        records of it get HandleClosedError."""

    async def aclose(self) -> None:
        """close(), for a task: others run while the group's coordinator is told. Cancelled, it has hung up on it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
