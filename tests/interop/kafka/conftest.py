"""Kafka's own classes for the tests here, or a reason why they cannot run."""

from __future__ import annotations

import shutil

import pytest

from tests.interop.kafka.java_classes import KafkaClasses


@pytest.fixture(scope="session")
def kafka_classes(tmp_path_factory: pytest.TempPathFactory) -> KafkaClasses:
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: apt-get install openjdk-17-jre-headless maven")
    return KafkaClasses.resolve(tmp_path_factory.mktemp("kafka-classes"))
