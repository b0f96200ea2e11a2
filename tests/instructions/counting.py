"""Instructions per record of the hot paths, counted by callgrind, and what they were counted with.

    python tests/instructions/counting.py     counts, and writes figures.json

An emulated processor counts the same on a busy machine, which is what no clock does. The figures belong to a compiler,
a Cython and a Python: other ones make other instructions of the same source.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from shmlog.native import send

HERE = Path(__file__).parent
FIGURES = HERE / "figures.json"
RUN_S = 300.0
TOOLS = ("valgrind", "gcc")


def toolchain() -> dict[str, str]:
    """What the compiled core in use was made with, out of its own files, and the Python that runs it."""
    module = Path(send.__file__).read_bytes()
    compilers = sorted({found.decode() for found in re.findall(rb"GCC: \([^)]*\) [\d.]+", module)})
    cython = sorted({found.decode() for found in re.findall(rb"\b_cython_(\d+_\d+_\w+)\b", module)})
    return {
        "compiler": ", ".join(compilers),
        "cython": ", ".join(cython).replace("_", "."),
        "python": platform.python_version(),
        "processor": platform.machine(),
    }


def missing_tools() -> list[str]:
    """Programs without which nothing can be counted."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def count(directory: Path) -> dict[str, float]:
    """Instructions per record of each phase of program.py; `directory` is for its files."""
    marks = directory / "marks.so"
    _run(["gcc", "-O2", "-shared", "-fPIC", str(HERE / "marks.c"), "-o", str(marks)])
    partition = directory / "partition"
    partition.mkdir()
    output = directory / "callgrind.out"
    said = _run(
        [
            *("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"),
            *(sys.executable, "-P", str(HERE / "program.py"), str(marks), str(partition)),
        ]
    )
    handled: dict[str, int] = json.loads(said)
    totals = dict(_total(path) for path in directory.glob("callgrind.out.*"))
    return {phase: round(totals[phase] / records, 1) for phase, records in handled.items()}


def _total(dump: Path) -> tuple[str, int]:
    """The phase of one of callgrind's files, and the instructions in it."""
    text = dump.read_text()
    phase = re.search(r"^desc: Trigger: Client Request: (\w+)$", text, re.MULTILINE)
    total = re.search(r"^(?:summary|totals): (\d+)$", text, re.MULTILINE)
    return (phase[1] if phase else "after the last phase", int(total[1]) if total else 0)


def _run(command: list[str]) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False, env=environment)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="shmlog-instructions-") as temporary:
        counted = {"made with": toolchain(), "instructions per record": count(Path(temporary))}
    FIGURES.write_text(json.dumps(counted, indent=2) + "\n")
    print(FIGURES.read_text())
