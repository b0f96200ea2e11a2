"""Consumers that read files go on in another directory when another replica leads."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.scenarios.replicated import TIMEOUT_S, cluster_at, leader_and_follower, wait_for_sync

pytestmark = pytest.mark.slow

RECORDS = 3000
VALUE_BYTES = 1000


def test_a_consumer_that_lags_reads_on_in_the_files_of_the_next_leader(tmp_path: Path) -> None:
    values = [b"%d" % number + bytes(VALUE_BYTES) for number in range(RECORDS)]
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        with cluster.producer() as producer:
            producer.send_many("flights", values, partition=0)
            producer.flush(TIMEOUT_S)
        wait_for_sync(cluster)
        with cluster.consumer(
            "flights", auto_offset_reset="none", max_poll_records=100, fetch_max_bytes=9999
        ) as consumer:
            consumer.seek_to_beginning()
            seen = [record.value for record in consumer.poll(timeout=TIMEOUT_S)]
            assert consumer.metrics()["segment_chunks"] > 0
            before, follower = leader_and_follower(cluster)
            Path(before.log_dir).parent.rename(tmp_path / "away")  # with its disk, so that no new copy is made there
            os.kill(before.pid, signal.SIGKILL)
            with cluster.producer() as producer:
                producer.send("flights", b"last", partition=0).result(TIMEOUT_S)
            leader, _ = leader_and_follower(cluster)
            assert leader.log_dir == follower.log_dir != before.log_dir
            while len(seen) <= RECORDS:
                records = consumer.poll(timeout=TIMEOUT_S)
                assert records
                seen += [record.value for record in records]
        assert seen == [*values, b"last"]
