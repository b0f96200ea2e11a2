"""A second build of the compiled core, with other compiler flags: for sanitizers, and for counting crash points.

The package is laid out as it is installed, in a directory of its own: pure Python modules are links to the checkout's,
`native` is a copy, compiled there. Processes with that directory in PYTHONPATH use it, all others do not notice.
A build is kept for as long as sources, flags, compiler and Python stay the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

INSTALLED_AS = {"workers": "shmlog/workers", "tools": "shmlog/tools"}
SOURCE_SUFFIXES = {".pyx", ".pxd", ".h"}
SANITIZER_FLAGS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-O0",
    "-DSHM_GUARD_BYTES=(1<<20)",
)


def build_sanitized(checkout: Path) -> Path:
    """The build that ends a process, with a report, at the first wrong access or undefined operation of the core."""
    return build(checkout, "sanitized", SANITIZER_FLAGS)


def sanitized_environment(directory: Path, base: Mapping[str, str]) -> dict[str, str]:
    """`base` for a child process that uses build_sanitized()'s result. Python's own objects get red zones too."""
    library = subprocess.run([_compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return {
        **base,
        "LD_PRELOAD": os.path.realpath(library.stdout.strip()),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:handle_segv=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(directory),
    }


def build(checkout: Path, name: str, flags: Sequence[str]) -> Path:
    """Compile the core of `checkout` with `flags` and return what belongs into PYTHONPATH.

    Kept under `build/variants/` of the checkout; a build of the same name from other sources or flags is removed.
    Raises subprocess.CalledProcessError, with the compiler's words in `output`.
    """
    variants = checkout / "build" / "variants"
    variants.mkdir(parents=True, exist_ok=True)
    finished = variants / f"{name}-{_fingerprint(checkout, flags)}"
    with open(variants / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may be at it
        if finished.is_dir():
            return finished
        for old in variants.glob(f"{name}-*"):
            shutil.rmtree(old)
        making = Path(tempfile.mkdtemp(prefix=f"{name}-making-", dir=variants))
        try:
            _lay_out(checkout, making / "shmlog")
            _compile(making / "shmlog" / "native", flags)
            making.rename(finished)
        except BaseException:
            with contextlib.suppress(OSError):
                shutil.rmtree(making)
            raise
    return finished


def _fingerprint(checkout: Path, flags: Sequence[str]) -> str:
    compiler = subprocess.run([_compiler(), "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(repr((flags, sys.version, compiler, str(checkout))).encode())
    for path in sorted((checkout / "shmlog" / "native").iterdir()):
        if path.suffix in SOURCE_SUFFIXES:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _lay_out(checkout: Path, package: Path) -> None:
    package.mkdir()
    for entry in (checkout / "shmlog").iterdir():
        if entry.name not in ("native", "__pycache__"):
            (package / entry.name).symlink_to(entry)
    for source, installed in INSTALLED_AS.items():
        (package.parent / installed).symlink_to(checkout / source)
    (package / "native").mkdir()
    for entry in (checkout / "shmlog" / "native").iterdir():
        if entry.suffix in SOURCE_SUFFIXES | {".c"} or entry.name == "__init__.py":
            shutil.copy2(entry, package / "native")


def _compile(native: Path, flags: Sequence[str]) -> None:
    """Cython where the checkout has no C file of these sources, then the C compiler, on every processor."""
    sources = sorted(native.glob("*.pyx"))
    processes = len(os.sched_getaffinity(0))
    translate = (
        "import sys; from Cython.Build import cythonize; cythonize(sys.argv[2:], nthreads=int(sys.argv[1]), quiet=True)"
    )
    paths = [str(source.relative_to(native.parents[1])) for source in sources]
    _run([sys.executable, "-c", translate, str(processes), *paths], native.parents[1])
    include = (f"-I{sysconfig.get_paths()['include']}", f"-I{native}")
    command = [_compiler(), "-shared", "-fPIC", "-fwrapv", "-g1", "-pthread", *include, *flags]
    suffix = sysconfig.get_config_var("EXT_SUFFIX")

    def compile_one(source: Path) -> None:
        _run([*command, str(source.with_suffix(".c")), "-o", str(source.with_suffix(suffix))], native.parents[1])

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(compile_one, sources))


def _run(command: Sequence[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)


def _compiler() -> str:
    return str(sysconfig.get_config_var("CC")).split()[0]
