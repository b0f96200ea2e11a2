# cython: language_level=3, boundscheck=False, wraparound=False
"""How one lane of a producer follows another: what comes into the new one, and when, so that nothing is overtaken."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shmlog.errors import RecordTooLargeError
from shmlog.native.delivery cimport BatchResult
from shmlog.native.lane cimport LaneWriter
from shmlog.native.mapping cimport (
    shm_copy_in, shm_load32_relaxed, shm_load_acquire, shm_load_relaxed, shm_store32_relaxed, shm_store_relaxed,
)

cdef extern from "layout.h" nogil:
    enum: LANE_HEAD, LANE_DATA
    enum: FRAME_BYTES, FRAME_MAX_TIMESTAMP, FRAME_BASE_SEQUENCE, FRAME_STATUS
    enum: FRAME_STATUS_PENDING, FRAME_STATUS_APPENDED, FRAME_STATUS_DUPLICATE

cdef extern from "batch.h" nogil:
    enum: BATCH_HEADER_BYTES


def finish(LaneWriter lane not None):
    """See succession.pyi."""
    cdef BatchResult batch
    cdef uint64_t head
    cdef uint32_t status
    lane.mapping.check()
    lane.ended = True
    lane.seal()
    head = shm_load_acquire(lane.base + LANE_HEAD)  # SYNC POINT lane-reclaim: pairs with lane-head
    for batch in lane.unacknowledged:
        if <int64_t>(head - batch.pos) <= 0:
            return False
        status = shm_load32_relaxed(lane.base + LANE_DATA + batch.pos % lane.data_bytes + FRAME_STATUS)
        if status != FRAME_STATUS_APPENDED and status != FRAME_STATUS_DUPLICATE:
            return False  # refused: the lane stops, which the head may say earlier than its state
    return True


def adopt(LaneWriter lane not None, LaneWriter old not None, BatchResult batch not None):
    """See succession.pyi."""
    cdef const unsigned char *source = old.base + LANE_DATA + batch.pos % old.data_bytes
    cdef unsigned char *frame
    lane.mapping.check()
    old.mapping.check()
    if batch.length > <uint64_t>lane.max_batch_bytes - BATCH_HEADER_BYTES + FRAME_BYTES:
        old.unacknowledged.remove(batch)
        lane._fail(batch, RecordTooLargeError(
            f"{batch.count} records to {lane.topic}-{lane.partition} were accepted when max.message.bytes was larger"
            f" than the {lane.max_batch_bytes} of now, and were not published before: send them again, in less"))
        if batch.callbacks is not None:
            lane.completed.append(batch)
        return True
    if lane.count:
        lane._close_frame()
    lane.reclaim()
    if lane.start + batch.length + 8 - lane.free > lane.data_bytes:
        lane.seal()
        return False
    frame = lane.base + LANE_DATA + lane.start % lane.data_bytes
    shm_copy_in(frame, source, batch.length)
    lane.frame = frame
    shm_store32_relaxed(frame + FRAME_STATUS, FRAME_STATUS_PENDING)
    shm_store32_relaxed(frame + FRAME_BASE_SEQUENCE, <uint32_t>lane.next_sequence if lane.next_sequence >= 0 else 0xFFFFFFFF)
    # max_timestamp: both cells, so that either parity selects the batch's own
    shm_store_relaxed(frame + FRAME_MAX_TIMESTAMP + 8 * (batch.count & 1),
                      shm_load_relaxed(source + FRAME_MAX_TIMESTAMP + 8 * ((batch.count - 1) & 1)))
    old.unacknowledged.remove(batch)
    batch.pos = lane.start
    lane.end = batch.length
    lane.count = batch.count
    lane.current = batch
    lane.unacknowledged.append(batch)
    lane.batches += 1
    lane.seal()
    return True
