"""Clients of a running cluster, each of them struck by a signal at another point of the same work, all at once.

    python tests/crash/points/clients.py CLUSTER send|poll stop|kill

One client does the work undisturbed and counts its points. Then there is one client for each point; when all of them
are struck, or done, that is said in a line of JSON. A line of input lets the stopped ones go on; what became of each
is said at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.crash.points.count import CountPage
    from tests.crash.points.roles import Journal

PLACE = "SHMLOG_POINTS_PLACE"  # in the environment: this process counts, and its library lies in that directory
TOPIC = "flights"
RECORDS = 4
FIRST_READ = 20
PATIENCE_S = 60.0


def main(arguments: list[str]) -> int:
    """Build the counted core, and go on in a process that has it."""
    if PLACE in os.environ:
        try:
            return strike_all(*arguments)
        finally:
            shutil.rmtree(os.environ[PLACE], ignore_errors=True)
    sys.path.insert(0, str(Path(__file__).parent))
    build = import_module("build")  # not through ROOT, where the sources are: the installed shmlog compiles
    core = build.counted_core()
    place = tempfile.mkdtemp(prefix="shmlog-points-")
    environment = build.environment(core, build.counter(Path(place))) | {PLACE: place}
    return os.execve(
        sys.executable, [sys.executable, "-P", "-m", "tests.crash.points.clients", *arguments], environment
    )


def strike_all(name: str, what: str, how: str) -> int:
    from tests.crash.points.count import CountPage
    from tests.crash.points.roles import Journal

    work: Callable[[str, int, CountPage, Journal], None] = {"send": _send, "poll": _poll}[what]
    number = {"stop": signal.SIGSTOP, "kill": signal.SIGKILL}[how]

    def start(point: int) -> tuple[int, CountPage, Journal]:
        page, journal = CountPage(kill_at=point, number=number), Journal()
        pid = os.fork()
        if pid == 0:
            try:
                work(name, point, page, journal)
            except BaseException:  # noqa: BLE001  # a child must not return into its parent's work
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        return pid, page, journal

    pid, counted, _ = start(0)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the client that counts failed")
    clients = [start(point) for point in range(1, counted.points + 1)]
    struck = [os.waitpid(pid, os.WUNTRACED)[1] for pid, _, _ in clients]
    _say(points=counted.points, kinds=counted.kinds(), stopped=sum(map(os.WIFSTOPPED, struck)))
    sys.stdin.readline()
    results = []
    for status, (pid, _, _) in zip(struck, clients, strict=True):
        if os.WIFSTOPPED(status):
            os.kill(pid, signal.SIGCONT)
    for point, (status, (pid, page, journal)) in enumerate(zip(struck, clients, strict=True), 1):
        ended = os.waitpid(pid, 0)[1] if os.WIFSTOPPED(status) else status
        code = os.waitstatus_to_exitcode(ended)
        kind = page.kind(point)
        results.append(
            {"point": point, "before": kind, "code": code, "intended": journal.intended, "accepted": journal.accepted}
        )
    _say(clients=results)
    return 0


def _send(name: str, point: int, page: CountPage, journal: Journal) -> None:
    """The first record of a lane, more of them into its open batch, a flush, and the end."""
    import shmlog

    cluster = shmlog.connect(name, timeout=PATIENCE_S)
    producer = cluster.producer(linger_ms=20, lane_bytes=262_144)
    page.arm()
    for number in range(RECORDS):
        journal.note(intended=number + 1, accepted=number)
        producer.send(TOPIC, b"%d:%d" % (point, number), partition=0)
        journal.note(intended=number + 1, accepted=number + 1)
    producer.flush(PATIENCE_S)
    cluster.close()
    page.disarm()


def _poll(name: str, point: int, page: CountPage, journal: Journal) -> None:
    """Subscribe, read what is there in several polls, and sleep for more; later, undisturbed, the rest."""
    import shmlog

    cluster = shmlog.connect(name, timeout=PATIENCE_S)
    page.arm()
    consumer = cluster.consumer(TOPIC)
    seen: list[shmlog.Record] = []
    while len(seen) < FIRST_READ:
        seen += consumer.poll(max_records=7, timeout=PATIENCE_S)
    seen += consumer.poll(timeout=0.05)
    page.disarm()
    if page.points < point:  # it slept once less than the one that counted
        os.kill(os.getpid(), page.fields.signal)
    while point and seen[-1].value != b"end":
        more = consumer.poll(timeout=PATIENCE_S)
        if not more:
            raise TimeoutError(f"{len(seen)} records and no more")
        seen += more
    if [record.offset for record in seen] != list(range(len(seen))):
        raise ValueError(f"gaps or repetitions among the offsets {[record.offset for record in seen]}")
    journal.note(intended=0, accepted=len(seen))
    cluster.close()


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
