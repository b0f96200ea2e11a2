"""The one check: `python tools/check.py` runs format, lint, types, import contracts, tests and docs.

    python tools/check.py             everything but the long tier; what has to pass before a change lands
    python tools/check.py --fast      the inner loop, under a minute: unit and documentation tests without the slow ones
    python tools/check.py --long      everything, the long tier included, seeded with the commit's hash
    python tools/check.py lint types  only these steps
    python tools/check.py tests -- -k ring -x     what follows `--` goes to pytest

Steps run in this order and all of them run, whichever fails: format, lint, types, imports, tests. `docs` is the part
of the tests that compares documents with the tree; asked for by name it runs alone. pytest's summary is printed last.
The tests see the installed shmlog, as a user would, never the sources by accident; if the installation is not of this
checkout's sources, the check says so instead of testing something else.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# -P: neither the checkout's root nor this folder is on the module path of what runs below.
PYTHON = (sys.executable, "-P")
INSTALLED_AS = {"shmlog": "shmlog", "workers": "shmlog/workers", "tools": "shmlog/tools"}
NATIVE_IMPORT = re.compile(r"^\s*(?:from\s+(shmlog[\w.]*)\s+c?import\b|c?import\s+(shmlog[\w.]*))", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for: the tier, and what to hand to pytest."""

    tier: str  # "fast", "default" or "long"
    pytest_arguments: tuple[str, ...]


def run(command: Sequence[str], cwd: Path = ROOT) -> int:
    """Run a command; its output appears only when it fails. Returns the exit code."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        print(done.stdout.rstrip(), flush=True)
    return done.returncode


def check_format(_: Options) -> int:
    return run([*PYTHON, "-m", "ruff", "format", "--check", "--quiet", "."]) and say_how("ruff format .")


def check_lint(_: Options) -> int:
    return run([*PYTHON, "-m", "ruff", "check", "--quiet", "--output-format", "concise", "."])


def check_types(_: Options) -> int:
    return run([*PYTHON, "-m", "mypy"])


def check_imports(_: Options) -> int:
    """Check the import contracts on a copy of the tree that looks like the installed package.

    Cython modules take part: each stands in the copy as a Python module with the same imports of our own.
    """
    with tempfile.TemporaryDirectory(prefix="shmlog-imports-") as directory:
        for source, installed in INSTALLED_AS.items():
            lay_out(ROOT / source, Path(directory, installed))
        config = str(ROOT / "pyproject.toml")
        lint = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
        return run([*PYTHON, "-c", lint, "--no-cache", "--config", config], cwd=Path(directory))


def lay_out(source: Path, installed: Path) -> None:
    for path in sorted([*source.rglob("*.py"), *source.rglob("*.pyx"), *source.rglob("*.pxd")]):
        if "__pycache__" in path.parts:
            continue
        target = installed / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".py":
            shutil.copyfile(path, target)
        else:
            imports = {first or second for first, second in NATIVE_IMPORT.findall(path.read_text())}
            with target.with_suffix(".py").open("a") as module:
                module.writelines(f"import {name}\n" for name in sorted(imports))


def check_tests(options: Options) -> int:
    return pytest(options, ["tests/unit", "tests/docs"] if options.tier == "fast" else ["tests"])


def check_docs(options: Options) -> int:
    return pytest(options, ["tests/docs"])


def pytest(options: Options, folders: list[str]) -> int:
    complaint = installation_complaint()
    if complaint:
        print(complaint)
        return 1
    arguments = {"fast": ["-m", "not slow and not long"], "default": [], "long": ["-m", "", *seed_of_commit()]}
    chosen = [*arguments[options.tier], *options.pytest_arguments]
    if not any((ROOT / argument.partition("::")[0]).exists() for argument in options.pytest_arguments):
        chosen = [*folders, *chosen]
    return subprocess.run([*PYTHON, "-m", "pytest", *chosen], cwd=ROOT, check=False).returncode


def seed_of_commit() -> list[str]:
    """The long tier draws other examples at every commit, and the same ones at the same commit."""
    commit = os.environ.get("SHMLOG_COMMIT")  # .ci/run checks a copy that is no repository
    if not commit:
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
        commit = git.stdout.strip()
    return [f"--hypothesis-seed={int(commit[:8], 16)}"] if commit else []


def installation_complaint() -> str:
    """Why the tests would not test this checkout, or an empty string when they would."""
    find = "import importlib.util as u; s = u.find_spec('shmlog'); print(s.origin if s and s.origin else '')"
    origin = subprocess.run([*PYTHON, "-c", find], capture_output=True, text=True, check=True).stdout.strip()
    install = f"{sys.executable} -m pip install -e '.[test]'"
    if not origin:
        return f"shmlog is not installed in this environment, and the tests need it. Run: {install}"
    package = Path(origin).parent
    if package == ROOT / "shmlog":
        for source in sorted(package.glob("native/*.pyx")):
            modules = list(source.parent.glob(f"{source.stem}.*.so"))
            if not modules or max(module.stat().st_mtime for module in modules) < source.stat().st_mtime:
                return f"{source.relative_to(ROOT)} is newer than its compiled module. Run: {install}"
        return ""
    for folder, installed in INSTALLED_AS.items():
        for path in sorted((ROOT / folder).rglob("*.p*")):
            other = package.parent / installed / path.relative_to(ROOT / folder)
            if path.suffix not in {".py", ".pyi", ".pxd"} or "__pycache__" in path.parts:
                continue
            if not other.exists() or other.read_bytes() != path.read_bytes():
                name = path.relative_to(ROOT)
                return f"the shmlog installed in {package} is not this checkout's: {name} differs. Run: {install}"
    return ""


def say_how(command: str) -> int:
    print(f"(mend with: {command})")
    return 1


STEPS: dict[str, Callable[[Options], int]] = {
    "format": check_format,
    "lint": check_lint,
    "types": check_types,
    "imports": check_imports,
    "tests": check_tests,
}
BY_NAME = STEPS | {"docs": check_docs}


def parse(argv: Sequence[str]) -> tuple[list[str], Options]:
    rest: tuple[str, ...] = ()
    if "--" in argv:
        at = list(argv).index("--")
        argv, rest = argv[:at], tuple(argv[at + 1 :])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"one of {', '.join(BY_NAME)}; default: all")
    tier = parser.add_mutually_exclusive_group()
    tier.add_argument("--fast", dest="tier", action="store_const", const="fast", help="the inner loop")
    tier.add_argument("--long", dest="tier", action="store_const", const="long", help="the long tier too")
    found = parser.parse_args(list(argv))
    unknown = [step for step in found.steps if step not in BY_NAME]
    if unknown:
        parser.error(f"there is no step {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    return found.steps or list(STEPS), Options(found.tier or "default", rest)


def main(argv: Sequence[str]) -> int:
    names, options = parse(argv)
    failed: list[str] = []
    for name in sorted(names, key=list(BY_NAME).index):
        if name in {"tests", "docs"}:
            if failed:
                print(f"failed so far: {', '.join(failed)}")
            print(f"{name}:", flush=True)
        started = time.monotonic()
        code = BY_NAME[name](options)
        if code:
            failed.append(name)
        if name not in {"tests", "docs"}:
            print(f"{name:8} {'FAILED' if code else 'ok':6} {time.monotonic() - started:5.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
