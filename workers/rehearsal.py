"""Owning a partition in the zygote, some times over, and throwing it away, before many owners are forked.

What Python does once per process, it has then done for all owners: it has specialised the bytecode of everything that
an owner runs to start, and made what is made at first use. An owner that does that itself changes pages that it would
otherwise share (tools/bench/FINDINGS.md).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace

from shmlog.control.channel import Channel
from shmlog.control.messages import Close, OwnerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.memory import names, region
from shmlog.settings import effective

from . import owner

ROUNDS = 10
PARTITION_ID = 1 << 62
"""No partition has this id; what a kill in the middle leaves goes like everything of an unknown partition."""


def rehearse(model: OwnerSpec) -> None:
    """Start and close an owner of a partition of our own, beside that of `model`: in its cluster's places.

    An owner that cannot start is no reason not to go on; the real one will say why.
    """
    spec = replace(
        model,
        topic="__rehearsal",
        partition_id=PARTITION_ID,
        config=effective(model.config, {"max.message.bytes": "1024", "shm.ring.bytes": "0"}),
    )
    try:
        for _ in range(ROUNDS):
            supervisor, owners_end = Channel.pair()
            with contextlib.closing(supervisor), tempfile.TemporaryDirectory(prefix="shmlog-rehearsal-") as directory:
                supervisor.send(Close(delete=True))
                owner.main(replace(spec, log_dir=os.path.join(directory, "log")), owners_end.detach())
    finally:
        prefix = names.control_page(spec.cid8, PARTITION_ID).removesuffix("ctl")
        for name, _ in region.list_regions(spec.cid8):
            if name.startswith(prefix):
                region.unlink(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(RuntimePaths(spec.runtime_dir).owner(PARTITION_ID))
