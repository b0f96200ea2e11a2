"""Kafka's own classes for the tests here, or a reason why they cannot run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.interop.kafka.java_classes import KafkaClasses
from tests.interop.kafka.our_logs import write_logs


@pytest.fixture(scope="session")
def kafka_classes(tmp_path_factory: pytest.TempPathFactory) -> KafkaClasses:
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: apt-get install openjdk-17-jre-headless maven")
    return KafkaClasses.resolve(tmp_path_factory.mktemp("kafka-classes"))


@pytest.fixture(scope="session")
def our_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a cluster that is closed."""
    data = tmp_path_factory.mktemp("ours") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHMLOG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
        write_logs(data)
    return data
