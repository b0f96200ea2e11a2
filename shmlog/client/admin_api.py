"""What a user's program talks to about topics and groups; the rules of api.py apply, which has this, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from shmlog.client.group_admin_api import GroupAdmin
from shmlog.client.results import ClusterInfo, ImportInfo, TopicInfo
from shmlog.client.topic_configs import ConfigChange, ConfigEntry
from shmlog.model import TopicPartition


class Admin(GroupAdmin, Protocol):
    """Topics, consumer groups, and what is known about them. May be used by several threads."""

    def create_topic(
        self,
        name: str,
        partitions: int | None = None,
        replication_factor: int | None = None,
        config: Mapping[str, object] | None = None,
    ) -> TopicInfo:
        """Create a topic and wait until its partitions run. `partitions` defaults to the cluster's `num.partitions`,
        `replication_factor`, how many copies are kept of each partition, to its `default.replication.factor`.

        Raises TopicAlreadyExistsError, InvalidTopicError, InvalidPartitionsError, InvalidReplicationFactorError,
        InvalidConfigError, ShmBudgetExceededError, and StorageError when no log directory is there.
        """

    def import_topic(
        self,
        path: str,
        *,
        topic: str | None = None,
        replication_factor: int | None = None,
        config: Mapping[str, object] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ImportInfo:
        """Make a topic of the archive at `path`, which `shmlog topic export` wrote, and wait until its partitions run.

        Offsets, times, headers and settings are what they were; `topic` is another name, `config` has other settings.
        The files are written by this process, as the user that the cluster runs as; `progress` is told after each piece
        how many bytes of the archive are done, and how many it has. All or nothing: after a BrokerNotAvailableError,
        a NoClusterError or a PollTimeoutError look whether the topic is there, after any other error it is not.

        Raises as create_topic() does, and InvalidRequestError or CorruptRecordError for an archive that is none or is
        damaged, DiskFullError in front of disk.reserve.bytes, OSError.
        """

    def delete_topic(self, name: str) -> None:
        """Delete a topic with its records. Who reads or sends it gets UnknownTopicOrPartitionError."""

    def list_topics(self, *, internal: bool = False) -> list[str]:
        """The names of all topics, sorted; with `internal`, those of the cluster itself too."""

    def describe_topic(self, name: str) -> TopicInfo:
        """One topic. Raises UnknownTopicOrPartitionError, with a suggestion where a name is close."""

    def describe_topics(self, names: Iterable[str] | None = None) -> list[TopicInfo]:
        """These topics, or all that are not internal."""

    def alter_topic(
        self,
        name: str,
        set: Mapping[str, object] | None = None,  # noqa: A002  # a name that users may rely on
        unset: Iterable[str] = (),
    ) -> TopicInfo:
        """Change settings of a topic; those in `unset` go back to the cluster's values or the defaults.

        The same as alter_configs() with "set" and "delete".
        """

    def alter_configs(self, topic: str, changes: Iterable[ConfigChange]) -> TopicInfo:
        """Set, delete, append to and subtract from settings of a topic while it is in use: all of `changes`, or none.

        Raises InvalidConfigError for a setting or value that is none, one that is changed twice, and values that do not
        go together; ShmBudgetExceededError when larger batches would need more shared memory than there is.
        """

    def describe_configs(self, topic: str) -> dict[str, ConfigEntry]:
        """Every setting of a topic by name: its value, where that comes from, and what it does."""

    def create_partitions(self, name: str, total: int) -> TopicInfo:
        """Raise the number of partitions to `total`; there is no way back.

        Records of a key may go to another partition than those before, and are then not in order with them:
        `warning` of what is returned says so.
        """

    def delete_records(self, before: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Delete the records of partitions before these offsets, -1: all that can be read; says where they begin now.

        It is durable then; a partition that begins behind the offset stays as it is. The space comes back with whole
        segments, after file.delete.delay.ms. Consumers that stand before the new start go on as auto.offset.reset says.
        Followers begin there about a second later. Raises OffsetOutOfRangeError for an offset beyond the high
        watermark, UnknownTopicOrPartitionError, LeaderNotAvailableError, DiskFullError; partitions that came before in
        the mapping are done then.
        """

    def elect_leader(self, topic: str, partition: int, replica_id: int | None = None) -> None:
        """Let this replica of a partition lead, and wait until it does; None: the oldest one, which led at first.

        The owner steps down and the follower hands its copy over; producers and consumers notice a short pause. Raises
        UnknownTopicOrPartitionError, InvalidRequestError for a replica that is none, LeaderNotAvailableError for one
        that is not in sync or does not run.
        """

    def move_replica(self, topic: str, partition: int, replica_id: int, log_dir: str) -> None:
        """Make a copy of a replica in the log directory at the path `log_dir`, which then takes its place.

        Returns when that has begun. `describe_topic` shows the new replica, with a number of its own; once that is in
        sync, and leads if the other did, the other one goes, with its files. A cluster that is restarted meanwhile goes
        on with it. Raises UnknownTopicOrPartitionError and InvalidRequestError.
        """

    def trace(self, topics: Iterable[str] | None = None, *, interval_us: int = 1000, lease_ms: int = 5000) -> None:
        """For `lease_ms` from now on, note where the time of some records of these topics (None: of all) goes.

        The owner of each partition follows about one record per `interval_us`, from being accepted to being visible,
        and consumers note when they read it, all in shared memory: `shmlog profile record` collects that. Asking again
        prolongs it, by ten seconds at the most; otherwise it ends by itself, whatever becomes of this process.
        Raises UnknownTopicOrPartitionError.
        """

    def describe_cluster(self) -> ClusterInfo:
        """The cluster as its supervisor sees it."""
