"""The lanes that an owner takes from, and the doorbells that it rings."""

from shmlog.native.mapping import Mapping
from shmlog.native.packer import BatchPacker

class LaneTable:
    """Base of Publisher. Mappings are kept until their lane or client is detached; the caller closes them then."""

    def __init__(self, control: Mapping, packer: BatchPacker) -> None: ...
    def attach_lane(
        self,
        mapping: Mapping,
        *,
        lane_id: int,
        slot: int,
        producer_id: int,
        producer_epoch: int,
        max_batch_bytes: int,
        codec: int = 0,
        level: int = 0,
    ) -> None:
        """Take from a lane; `codec` and `level` are what its producer asked for. Raises what the packer does."""

    def compress_all(self, codec: int, level: int) -> None:
        """What the topic says about compression, from the next batch on; a `codec` of -1: as each producer asked."""

    def demand(
        self,
        *,
        log_append_time: bool = False,
        before_max_ms: int = ...,
        after_max_ms: int = ...,
        keys: bool = False,
    ) -> None:
        """What the topic says about times and keys of records, from the next group on. Batches with a record that has
        no key where it needs one, or is further in the past or future, are rejected. Times that are replaced by when a
        batch is appended have no bounds. By default nothing is demanded."""

    @property
    def log_append_time(self) -> bool: ...
    def begin_close(self, lane_id: int) -> None:
        """Tell the producer that the lane closes; run() then takes the rest without lingering."""

    def is_drained(self, lane_id: int) -> bool: ...
    def detach_lane(self, lane_id: int) -> int: ...
    def lane_ids(self) -> list[int]: ...
    def lane_state(self, lane_id: int) -> tuple[bool, int, int]: ...
    def idle_lanes(self, now_ns: int, idle_ns: int) -> list[int]: ...
    def attach_client(self, client_id: int, mapping: Mapping) -> None: ...
    def detach_client(self, client_id: int) -> None: ...
