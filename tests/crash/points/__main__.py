"""Kill at every point: `python tests/crash/points` prints scenario, points, kills and double kills.

python tests/crash/points                         every scenario, every single kill
python tests/crash/points --double                and then the recovery at every point too: long
python tests/crash/points --only "ring grows"     one scenario
python tests/crash/points --every 5 --seed 3      a sample of single kills
python tests/crash/points --only roll --at 17     one kill; --second 5 kills its recovery, too; --final cold;
                                                      --aside 3: the sync thread has stopped before its third call
python tests/crash/points --serve                 for tests: names of scenarios in, results out, one line of JSON each
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path

PLACE = "SHMLOG_POINTS_PLACE"  # in the environment: this process counts, and works in that directory
MEMORY = "/dev/shm"  # what a kill leaves does not depend on the disk, which only costs time


def main() -> int:
    """Build the counted core, and go on in a process that has it."""
    options = _options(sys.argv[1:])
    if PLACE in os.environ:
        from tests.crash.points import campaign

        place = os.environ.pop(PLACE)
        try:
            return campaign.main(options, Path(place))
        finally:
            shutil.rmtree(place, ignore_errors=True)
    build = import_module("build")  # this directory is on the module path; the installed shmlog compiles
    core = build.counted_core()
    place = tempfile.mkdtemp(prefix="shmlog-points-", dir=MEMORY)
    environment = build.environment(core, build.counter(Path(place))) | {PLACE: place}
    return os.execve(sys.executable, [sys.executable, "-P", "-m", "tests.crash.points", *sys.argv[1:]], environment)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO")
    parser.add_argument("--at", type=int, metavar="N")
    parser.add_argument("--second", type=int, metavar="M")
    parser.add_argument("--aside", type=int, metavar="M")
    parser.add_argument("--final", choices=["warm", "old leader", "cold"])
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
