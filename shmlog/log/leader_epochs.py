"""What two logs of a partition have in common, told by their leader epochs: Kafka's KIP-101 and KIP-279.

An epoch has one leader, and what it wrote is the same everywhere. So two logs agree up to where one of them ends in the
last epoch that both have; what a follower has behind that, its leader has lost or never had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shmlog.log.checkpoint import EpochStart
from shmlog.record.header import BatchHeader


def agreed_end(
    mine: Sequence[EpochStart], my_end_offset: int, leaders: Sequence[EpochStart], leader_end_offset: int
) -> int:
    """Up to which offset a follower's log is its leader's; at most `my_end_offset`, and 0 when they share no epoch.

    Both lists ascend; an epoch ends where the next one begins, the last one at the end of its log.
    """
    common = {start.epoch for start in mine} & {start.epoch for start in leaders}
    if not mine:
        return min(my_end_offset, leader_end_offset)
    if not common:
        return 0
    newest = max(common)
    return min(end_of(newest, mine, my_end_offset), end_of(newest, leaders, leader_end_offset))


def end_of(epoch: int, starts: Sequence[EpochStart], end_offset: int) -> int:
    """Up to which offset a log that ends at `end_offset` has nothing of epochs after `epoch`."""
    later = [start.start_offset for start in starts if start.epoch > epoch]
    return min([*later, end_offset])


def epoch_of(offset: int, starts: Sequence[EpochStart]) -> int:
    """The epoch that the batch at `offset` was written under; -1 if they do not say."""
    return max((start.epoch for start in starts if start.start_offset <= offset), default=-1)


def shared_epochs(leaders: Sequence[EpochStart], end_offset: int) -> list[EpochStart]:
    """The epochs of a log that is the beginning of its leader's, up to `end_offset`."""
    return [start for start in leaders if start.start_offset <= end_offset]


def epochs_in(headers: Iterable[BatchHeader]) -> list[EpochStart]:
    """The epochs that batches were written under, oldest first: what a lost checkpoint said of them."""
    starts: list[EpochStart] = []
    for header in headers:
        if not starts or header.leader_epoch > starts[-1].epoch:
            starts.append(EpochStart(header.leader_epoch, header.base_offset))
    return starts
