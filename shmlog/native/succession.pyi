"""How one lane of a producer follows another."""

from shmlog.native.delivery import BatchResult
from shmlog.native.lane import LaneWriter

def finish(lane: LaneWriter) -> bool:
    """Have `lane` take no record from now on. True once its owner has published all there are, so that another lane may
    take the records that come next."""

def adopt(lane: LaneWriter, old: LaneWriter, batch: BatchResult) -> bool:
    """Take over a batch that the closed lane `old` did not publish, under the sequence of `lane`; False: no room."""
