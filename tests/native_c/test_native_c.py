"""The core's headers as C, without Python: on this processor, under sanitizers, and for aarch64 under qemu-user.

Known answers, and a partition in threads whose every record is checked at the other end. On x86, and under qemu on x86,
this finds wrong bytes, lost records and lost wake-ups, but hardly a missing barrier: qemu runs guest threads as host
threads, and the host reorders no more than x86 does. Barriers are the model's business (tests/model), and whether the
compiler emits them for aarch64 is looked at in its assembler.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "shmlog" / "native"
CROSS, QEMU, SYSROOT = "aarch64-linux-gnu-gcc", "qemu-aarch64", "/usr/aarch64-linux-gnu"
FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-pthread", f"-I{NATIVE}", f"-I{HERE}")
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
RECORDS = 50_000
RUN_S = 120.0

needs_cross_tools = pytest.mark.skipif(
    not (shutil.which(CROSS) and shutil.which(QEMU)),
    reason="needs the packages gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user",
)


def run(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def build(compiler: str, directory: Path, *flags: str) -> Path:
    program = directory / "main"
    run([compiler, *FLAGS, *flags, HERE / "main.c", "-o", program])
    return program


@pytest.mark.parametrize("flags", [("-O3",), SANITIZERS], ids=["as built", "sanitized"])
def test_a_partition_in_threads_loses_and_changes_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert f"records={RECORDS} " in run([build("gcc", tmp_path, *flags), str(RECORDS)])


@needs_cross_tools
@pytest.mark.parametrize("flags", [("-O3",), ("-O3", "-march=armv8.1-a")], ids=["armv8.0", "with atomic instructions"])
def test_a_partition_in_threads_on_aarch64_loses_and_changes_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    said = run([QEMU, "-L", SYSROOT, build(CROSS, tmp_path, *flags), str(RECORDS)])
    assert f"records={RECORDS} " in said
    assert "checksum=instruction" in said  # qemu's processor has CRC32; the portable way is compared with it


ACCESSES = {  # of access.h; RCpc and full barriers as the ARM architecture manual's mapping of C11 has them
    "uint64_t probe(void *p) { return shm_load_acquire(p); }": r"\bldap?r\s",
    "uint64_t probe(void *p) { return shm_load32_acquire(p); }": r"\bldap?r\s",
    "void probe(void *p) { shm_store_release(p, 1); }": r"\bstlr\s",
    "void probe(void *p) { shm_store32_release(p, 1); }": r"\bstlr\s",
    "int probe(void *p) { return shm_cas_release(p, 1, 2); }": r"\b(casl|stlxr|__aarch64_cas8_rel)\b",
    "uint64_t probe(void *p) { return shm_fetch_or_acquire(p, 2); }": r"\b(ldseta|ldaxr|__aarch64_ldset8_acq)\b",
    "uint32_t probe(void *p) { return shm_fetch_add32(p, 1); }": r"\b(ldaddl|stlxr|__aarch64_ldadd4_rel)\b",
    "void probe(void) { shm_fence_seq_cst(); }": r"\bdmb\s+ish\b",
    "void probe(void) { shm_fence_release(); }": r"\bdmb\s+ish\b",
    "void probe(void) { shm_fence_acquire(); }": r"\bdmb\s+ish(ld)?\b",
}


@needs_cross_tools
@pytest.mark.parametrize("source", ACCESSES)
def test_every_access_has_its_barrier_on_aarch64(tmp_path: Path, source: str) -> None:
    probe = tmp_path / "probe.c"
    probe.write_text(f'#include "access.h"\n{source}\n')
    assembler = run([CROSS, "-O3", f"-I{NATIVE}", "-S", "-o", "-", probe])
    assert re.search(ACCESSES[source], assembler), assembler
