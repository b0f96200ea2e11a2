"""The producer of the compaction benchmark: a record a millisecond, each waited for; how long that took."""

from __future__ import annotations

import sys
import time
from array import array
from pathlib import Path

import orjson

import shmlog
from shmlog.testing.worker_process import Message, hear, say, serve

MODULE = "shmlog.tools.bench.compaction_worker"
PACE_S = 0.001
TIMEOUT_S = 30.0


def produce(order: Message) -> None:
    """Until told to stop: (when it was sent, how long until it was acknowledged), in seconds, into the file `times`."""
    times = array("d")
    with shmlog.connect(order["cluster"]) as cluster, cluster.producer() as producer:
        producer.send(order["topic"], b"first").result(TIMEOUT_S)
        say(ready=True)
        due = time.monotonic()
        while hear(0.0) is None:
            began = time.monotonic()
            producer.send(order["topic"], b"." * order["size_bytes"]).result(TIMEOUT_S)
            times.extend((began, time.monotonic() - began))
            due = max(due + PACE_S, began)
            time.sleep(max(0.0, due - time.monotonic()))
    Path(order["times"]).write_bytes(times.tobytes())
    say(sent=len(times) // 2)


if __name__ == "__main__":
    request = orjson.loads(sys.argv[1])
    sys.exit(serve(lambda: produce(request)))
