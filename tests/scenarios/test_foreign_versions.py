"""A daemon and a client, or a daemon and its data, of different versions: refused, naming both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.control.messages import PROTOCOL
from shmlog.testing.variant_build import INSTALLED_AS
from shmlog.version import VERSION

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

ROOT = Path(__file__).parents[2]
OTHER_VERSION = "7.7.7"
OTHER_PROTOCOL = PROTOCOL + 1


@pytest.fixture
def other_version(tmp_path: Path) -> Path:
    """What belongs into PYTHONPATH for a shmlog of another version and another control protocol."""
    package = tmp_path / "other" / "shmlog"
    package.mkdir(parents=True)
    installed_package = Path(shmlog.__file__).parent
    for entry in installed_package.iterdir():
        if entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)
    for source, installed in INSTALLED_AS.items():
        if not (package.parent / installed).exists():  # an editable installation has them beside the package
            (package.parent / installed).symlink_to(ROOT / source)
    changes = {
        "version.py": (f'"{VERSION}"', f'"{OTHER_VERSION}"'),
        "control/messages.py": (f"PROTOCOL = {PROTOCOL}\n", f"PROTOCOL = {OTHER_PROTOCOL}\n"),
    }
    (package / "control").unlink()
    shutil.copytree(installed_package / "control", package / "control", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "version.py").unlink()
    for name, (ours, theirs) in changes.items():
        text = (installed_package / name).read_text()
        assert ours in text
        (package / name).write_text(text.replace(ours, theirs))
    return package.parent


@pytest.mark.slow
@pytest.mark.parametrize("newer", ["the client", "the daemon"])
def test_client_and_daemon_of_different_versions_refuse_each_other_naming_both(
    real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch, other_version: Path, newer: str
) -> None:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    if newer == "the daemon":
        real_daemon.environment = {"PYTHONPATH": str(other_version)}
        real_daemon.start()
        with pytest.raises(shmlog.ForeignVersionError) as caught:
            shmlog.connect("t")
        said = str(caught.value)
    else:
        real_daemon.start()
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import shmlog; shmlog.connect('t')"],
            env={**os.environ, "PYTHONPATH": str(other_version)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        said = done.stderr.splitlines()[-1]
        assert said.startswith("shmlog.errors.ForeignVersionError: ")
    for word in (VERSION, OTHER_VERSION, f"(control protocol {PROTOCOL})", f"(control protocol {OTHER_PROTOCOL})"):
        assert word in said
    assert "install the same version on both sides" in said


def test_a_data_directory_of_another_version_is_refused_naming_both(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.stop() == 0
    properties = daemon.data_dir / "meta.properties"
    properties.write_text(
        properties.read_text().replace("version=1\n", "version=2\n", 1).replace(f"={VERSION}\n", f"={OTHER_VERSION}\n")
    )
    said = daemon.fails_to_start()
    assert "has version 2 (written by shmlog 7.7.7)" in said
    assert f"shmlog {VERSION} reads version 1" in said
