"""Every way to break the code that is on the list is noticed by the crash point that it names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations.compaction_mutations import COMPACTION_MUTATIONS
from tests.mutations.follower_mutations import FOLLOWER_MUTATIONS
from tests.mutations.owner_mutations import OWNER_MUTATIONS
from tests.mutations.supervisor_mutations import SUPERVISOR_MUTATIONS
from tests.mutations.takeover_mutations import TAKEOVER_MUTATIONS

RUN = Path(__file__).with_name("run.py")
MUTATIONS = (*OWNER_MUTATIONS, *COMPACTION_MUTATIONS, *FOLLOWER_MUTATIONS, *TAKEOVER_MUTATIONS, *SUPERVISOR_MUTATIONS)
NAMES = [mutation.name for mutation in MUTATIONS]


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_crash_point_notices_that(name: str) -> None:
    done = subprocess.run([sys.executable, str(RUN), "--only", name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_mutation_still_finds_what_it_breaks() -> None:
    done = subprocess.run([sys.executable, str(RUN), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
