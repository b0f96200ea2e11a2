"""All peers in the order of the report, and how they are chosen by name."""

from __future__ import annotations

from collections.abc import Sequence

from shmlog.errors import InvalidArgumentError

from .fifo import FIFO, FIFO_MANY
from .iceoryx import ICEORYX_EVENT, ICEORYX_POLLING
from .jetstream import JETSTREAM_ACKED, JETSTREAM_UNACKED
from .own import SHMLOG, SHMLOG_MANY
from .peer import Peer
from .redis_streams import REDIS
from .standard_library import PIPE, QUEUE
from .zeromq import ZEROMQ, ZEROMQ_BLOBS

OWN = (SHMLOG, SHMLOG_MANY)
OTHERS = (
    *(PIPE, QUEUE, ZEROMQ, ZEROMQ_BLOBS, FIFO, FIFO_MANY, ICEORYX_POLLING, ICEORYX_EVENT),
    *(REDIS, JETSTREAM_ACKED, JETSTREAM_UNACKED),
)


def choose(names: str) -> list[Peer]:
    """shmlog's own rows, then the peers with these names, separated by commas; "all" are all.

    Raises InvalidArgumentError for a name that no peer has.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {peer.name: peer for peer in OTHERS}
    unknown = sorted(set(wanted) - set(known) - {"all"})
    if unknown or not wanted:
        raise InvalidArgumentError(
            f"no peer is called {', '.join(unknown) or names!r}; there are {', '.join(known)}, all"
        )
    chosen: Sequence[Peer] = OTHERS if "all" in wanted else [peer for peer in OTHERS if peer.name in wanted]
    return [*OWN, *chosen]
