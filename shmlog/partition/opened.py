"""A partition in its owner's hands, however the owner came to it, and what all ways to it have in common."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from shmlog.control.messages import OwnerSpec
from shmlog.errors import ShmlogError
from shmlog.limits import RING_BATCHES_MIN
from shmlog.log.partition_log import PartitionLog
from shmlog.log.storage import OsStorage
from shmlog.memory import bell, layout
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState
from shmlog.native.doorbell import Doorbell
from shmlog.native.mapping import Mapping
from shmlog.native.packer import BatchPacker
from shmlog.native.producer_table import ProducerTable
from shmlog.native.publish import Publisher
from shmlog.partition.survey import RingEnd
from shmlog.record.compression import compressor
from shmlog.settings import TopicConfig


@dataclass(slots=True)
class OpenPartition:
    """A partition in its owner's hands, ready to run. `end`: what a dead predecessor left; None after a cold start."""

    control: ControlPage
    bell: Doorbell
    publisher: Publisher
    log: PartitionLog
    storage: OsStorage
    config: TopicConfig
    end: RingEnd | None
    recovered: str

    @property
    def largest_batch(self) -> int:
        """In bytes: what is configured now, or was when the ring was made, or an attached lane granted."""
        granted = [lane.terms.max_batch_bytes for lane in self.control.lanes()]
        return max(self.config.max_message_bytes, self.publisher.capacity // RING_BATCHES_MIN, *granted)


@contextlib.contextmanager
def offline_if_it_fails(control: ControlPage | None) -> Iterator[None]:
    """For steps before the partition runs: an error is said in the ctl region, what is in the ring stays readable."""
    try:
        yield
    except (OSError, ShmlogError) as error:
        if control is not None:
            control.store_error_text(str(error))
            control.mapping.store(layout.CTL_STATE, OwnerState.OFFLINE)
        raise


def bell_of(spec: OwnerSpec) -> Doorbell:
    """The predecessor's if there is one: whoever has it mapped still rings us."""
    return bell.ensure_bell(spec.cid8, spec.partition_id, mode=spec.shm_mode, group=spec.shm_group)


def publisher_over(
    spec: OwnerSpec,
    config: TopicConfig,
    page: Mapping,
    ring: Mapping,
    index: Mapping,
    log: PartitionLog,
    producers: ProducerTable,
    end: RingEnd,
) -> Publisher:
    return Publisher(
        page,
        ring,
        index,
        log.active,
        producers,
        BatchPacker(compressor),
        leader_epoch=spec.leader_epoch,
        next_offset=end.next_offset,
        next_seq=end.next_seq,
        segment_bytes=config.segment_bytes,
    )


def stamp_owner(page: Mapping, spec: OwnerSpec) -> None:
    page.store(layout.CTL_EPOCH, spec.leader_epoch)
    page.store(layout.CTL_PID, os.getpid())
