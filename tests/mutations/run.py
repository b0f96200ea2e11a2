"""Break the code on purpose, one thing at a time, and see that a crash point notices.

    python tests/mutations/run.py --list
    python tests/mutations/run.py                     all of them: half an hour
    python tests/mutations/run.py --only "a roll counts before its slot is filled"

Works on a copy of the checkout, under build/mutations. Exit code 1 if a mutation survives.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mutations.mutation import Mutation

ROOT = Path(__file__).parents[2]
COPY = ROOT / "build" / "mutations" / "checkout"
COPIED = ("shmlog", "workers", "tools", "tests", "pyproject.toml")
DEADLINE_S = 1800
KILLS_FAILED = 1  # the exit code of tests/crash/points when something was amiss


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument(
        "--check", action="store_true", help="only look whether each piece of text is still there, once"
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    mutations: list[Mutation] = [
        *import_module("tests.mutations.owner_mutations").OWNER_MUTATIONS,
        *import_module("tests.mutations.compaction_mutations").COMPACTION_MUTATIONS,
        *import_module("tests.mutations.follower_mutations").FOLLOWER_MUTATIONS,
        *import_module("tests.mutations.takeover_mutations").TAKEOVER_MUTATIONS,
        *import_module("tests.mutations.supervisor_mutations").SUPERVISOR_MUTATIONS,
    ]
    chosen = [mutation for mutation in mutations if not options.only or mutation.name in options.only]
    if options.list:
        for mutation in chosen:
            print(f"{mutation.name}  ({mutation.path}; {mutation.scenario})")
        return 0
    if options.check:
        stale = [name for name, count in ((m.name, occurrences(m)) for m in chosen) if count != 1]
        print("\n".join(f"the text of this mutation is not there once: {name}" for name in stale))
        return bool(stale)
    refresh_copy()
    survivors = 0
    for mutation in chosen:
        outcome = try_mutation(mutation)
        survivors += not outcome.startswith("caught")
        print(f"{mutation.name}: {outcome}", flush=True)
    return bool(survivors)


def refresh_copy() -> None:
    """Bring the copy up to date; files that are the same keep their times, so that little is compiled again."""
    COPY.mkdir(parents=True, exist_ok=True)
    wanted: set[Path] = set()
    for name in COPIED:
        top = ROOT / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if "__pycache__" in path.parts or path.is_dir() or path.suffix == ".so":
                continue
            target = COPY / path.relative_to(ROOT)
            wanted.add(target)
            if not target.exists() or target.read_bytes() != path.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
    for path in [path for name in COPIED for path in (COPY / name).rglob("*") if path.is_file()]:
        if path not in wanted:
            path.unlink()


def occurrences(mutation: Mutation) -> int:
    return (ROOT / mutation.path).read_text().count(mutation.old)


def try_mutation(mutation: Mutation) -> str:
    """Apply, run the scenario's kills, undo."""
    target = COPY / mutation.path
    text, status = target.read_text(), target.stat()
    if text.count(mutation.old) != 1:
        return f"its text occurs {text.count(mutation.old)} times in {mutation.path}"
    target.write_text(text.replace(mutation.old, mutation.new))
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(COPY / "tests" / "crash" / "points"), "--only", mutation.scenario],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
    finally:
        target.write_text(text)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    if done.returncode == 0:
        return "SURVIVED"
    if done.returncode != KILLS_FAILED or "failed" not in done.stdout.partition("\n")[0]:
        return f"could not be tried: {done.stderr or done.stdout}"
    figures = done.stdout.splitlines()[1].split()
    said = [line for line in done.stdout.splitlines() if "Error" in line]
    return f"caught by {figures[-1]} kills: {said[0] if said else done.stdout}"


if __name__ == "__main__":
    sys.exit(main())
