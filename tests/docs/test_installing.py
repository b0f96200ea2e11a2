"""Installing where it cannot work, and importing what was not built, end with one sentence that says what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(program: str, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", program], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_an_install_on_another_system_fails_with_one_sentence(tmp_path: Path) -> None:
    pretend = "import sys; sys.platform = 'darwin'; sys.path.insert(0, sys.argv[1]); import build_backend"
    done = subprocess.run(
        [sys.executable, "-c", pretend, str(ROOT / "tools")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "shmlog runs on Linux only, and this is darwin: it stands on futexes, pidfds and /dev/shm."
    ]


def test_the_build_backend_of_pyproject_is_the_one_that_looks() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert 'build-backend = "build_backend"' in pyproject
    assert 'backend-path = ["tools"]' in pyproject


def uncompiled_checkout(folder: Path) -> Path:
    sources = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    shutil.copytree(ROOT / "shmlog", folder / "shmlog", ignore=sources)
    return folder


def test_importing_the_uncompiled_sources_says_so_and_what_to_do(tmp_path: Path) -> None:
    done = python("import shmlog", cwd=uncompiled_checkout(tmp_path))
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert str(tmp_path) in last
    assert "not compiled" in last
    assert "pip install" in last


def test_the_installed_package_is_found_from_inside_a_checkout_with_the_safe_path_option(tmp_path: Path) -> None:
    done = python("import shmlog; print(shmlog.__file__)", "-P", cwd=uncompiled_checkout(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).is_relative_to(tmp_path)
