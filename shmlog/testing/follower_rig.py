"""A follower of a rig's partition in the same process, without supervisor or sleep; and what tells two logs apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic_ns
from typing import TypeVar

from shmlog.clock import wall_ms
from shmlog.control.channel import Channel
from shmlog.control.messages import Closed, FollowerSpec, HandOver, Message
from shmlog.log.checkpoint import LEADER_EPOCHS
from shmlog.log.segment import SUFFIXES
from shmlog.memory import layout, names, region
from shmlog.memory.layout import ReplicaState
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.partition.follower import FollowerAgent
from shmlog.partition.following import Following
from shmlog.settings import TopicConfig
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig, open_rig

REPLICA_ID = 1
CONFIG = {"max.message.bytes": "4096", "index.interval.bytes": "300", "file.delete.delay.ms": "0"}
SEGMENT_BYTES = 3000
M = TypeVar("M", bound=Message)


class FollowerRig:
    """The agent of a follower and its supervisor's end of the channel; killing it is dropping it."""

    def __init__(
        self, rig: Rig, directory: Path, config: dict[str, str] | None = None, *, replica_id: int = REPLICA_ID
    ) -> None:
        self.rig = rig
        self.directory = directory
        self.heard: list[Message] = []
        self.spec = FollowerSpec(
            "cluster",
            "test",
            rig.tag,
            "",
            TOPIC_NAME,
            "A" * 22,
            0,
            1,
            replica_id,
            str(directory),
            str(rig.directory),
            rig.config | (config or {}),
            0o600,
            None,
        )
        self.lives = False
        self.start()

    def start(self) -> None:
        """As the supervisor starts it, after whatever was there before."""
        self.supervisor, end = Channel.pair()
        self._channel = Channel(end)
        self.agent = FollowerAgent(self.spec, self._channel)
        self.lives = True

    def kill(self) -> None:
        """Close its files and nothing else, as the kernel does."""
        self.following.close(clean=False)
        self.hang_up()
        self.lives = False

    def hang_up(self) -> None:
        """Close both ends of the channel."""
        self._channel.close()
        self.supervisor.close()

    def hand_over(self) -> None:
        """Take what the leader has written, close the copy for an owner, and end, as ordered by the supervisor."""
        self.supervisor.send(HandOver())
        self.work()
        self.agent.serve()
        self.hear(Closed)
        self.hang_up()
        self.lives = False

    def restart(self) -> None:
        self.kill()
        self.start()

    def work(self) -> None:
        """Until there is nothing to do for now."""
        while self.agent.work(monotonic_ns()):
            pass

    def hear(self, kind: type[M]) -> list[M]:
        """What it has said of this kind since it was started."""
        while (message := self.supervisor.receive()) is not None:
            self.heard.append(message)
        return [message for message in self.heard if isinstance(message, kind)]

    def keep_house(self) -> None:
        """As if a second had passed."""
        self.following.keep_house()
        self.work()

    def try_again(self) -> None:
        """As if the pause after a refusal were over."""
        self.following._retry_ns = 0
        self.work()

    @property
    def following(self) -> Following:
        return self.agent.following

    @property
    def region(self) -> ReplicaRegion:
        """What it shows to others."""
        return self.agent.region

    @property
    def end_offset(self) -> int:
        """Of its log."""
        return self.following.copy.end_offset


@contextmanager
def open_leader(directory: Path, config: dict[str, str] | None = None) -> Iterator[Rig]:
    """A rig whose segments are small, with an owner that runs."""
    with open_rig(directory, CONFIG | (config or {})) as rig:
        rig.publisher.segment_bytes = SEGMENT_BYTES
        run_state(rig)
        yield rig


def take_over(rig: Rig, epoch: int) -> None:
    """Over whatever there is."""
    rig.take_over(epoch)
    rig.publisher.segment_bytes = SEGMENT_BYTES
    run_state(rig)


def lead_from(rig: Rig, follower: FollowerRig, epoch: int) -> None:
    """The leader is dead, and the follower's copy becomes the partition's log; the follower has ended."""
    rig.let_go()
    rig.directory, rig.replica_id = follower.directory, REPLICA_ID
    take_over(rig, epoch)


def retain(rig: Rig, retention_bytes: int) -> None:
    """Let the leader delete what is beyond so many bytes."""
    rig.config["retention.bytes"] = str(retention_bytes)
    rig.keeper.configure(TopicConfig.from_mapping(rig.config))
    rig.publisher.segment_bytes = SEGMENT_BYTES
    rig.keeper.apply_retention(wall_ms())


def produce(rig: Rig, lane: Lane, count: int, size: int = 200) -> None:
    """Publish `count` batches of one record of about `size` bytes."""
    for number in range(count):
        lane.send_all((b"%d;" % number * size)[:size])
        rig.run()
        lane.writer.reclaim()


def lose_shared_memory(rig: Rig) -> None:
    """The leader's, as in a reboot; its owner is gone."""
    rig.let_go()
    generation = rig.control.generation
    for name in (
        names.control_page(rig.tag, 1),
        names.ring(rig.tag, 1, generation),
        names.index(rig.tag, 1, generation),
    ):
        region.unlink(name)


def run_state(rig: Rig) -> None:
    """Let the rig's control page say that its owner runs, as an owner's agent does."""
    rig.control.mapping.store(layout.CTL_STATE, layout.OwnerState.RUN)


@contextmanager
def open_follower(
    rig: Rig, directory: Path, config: dict[str, str] | None = None, *, replica_id: int = REPLICA_ID
) -> Iterator[FollowerRig]:
    follower = FollowerRig(rig, directory, config, replica_id=replica_id)
    try:
        yield follower
    finally:
        if follower.lives:
            follower.kill()


def files_of(directory: Path) -> dict[str, bytes]:
    """The bytes of everything in which a copy must equal its leader's log: segments, their indexes, epochs."""
    return {
        path.name: path.read_bytes()
        for path in sorted(directory.iterdir())
        if path.suffix in SUFFIXES or path.name == LEADER_EPOCHS
    }


def difference(leader: Path, follower: Path) -> str:
    """In which file two logs differ first; "" if in none."""
    theirs, ours = files_of(leader), files_of(follower)
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            sizes = [len(files[name]) if name in files else "no" for files in (theirs, ours)]
            return f"{name} has {sizes[0]} bytes at the leader and {sizes[1]} at the follower, or others"
    return ""


def assert_same(follower: FollowerRig) -> None:
    """It has everything that its leader has written, and shows it."""
    rig = follower.rig
    follower.work()
    assert difference(rig.directory, follower.directory) == ""
    assert follower.end_offset == follower.region.written_offset == rig.publisher.written_offset
    assert follower.region.leader_epoch == rig.spec.leader_epoch
    assert follower.region.state is ReplicaState.FOLLOWING
