"""The cleaner: one process that compacts the logs of all topics that want it, when nobody else needs the processors.

    python -P -m shmlog.workers.cleaner FD

FD is its end of a socket pair to the supervisor, which gives it one log after the other. It ends when that does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

import psutil

from shmlog.control.channel import Channel
from shmlog.partition.cleaner import serve


def main(arguments: list[str]) -> int:
    """Arguments: number of the inherited channel descriptor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides when workers end
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as comm:
        comm.write("shmlog-cleaner")  # what `ps` and `top` show
    with contextlib.suppress(PermissionError):  # only hints, which a container may forbid
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # owners, which are SCHED_BATCH, preempt only this
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    channel = Channel(socket.socket(fileno=int(arguments[0])))
    os.set_inheritable(channel.fileno(), False)
    serve(channel)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
