"""A producer or a consumer of the scale benchmark."""

from __future__ import annotations

import sys
import time

import orjson

import shmlog
from shmlog import TopicPartition
from shmlog.testing.worker_process import Message, hear, say, serve

FLUSH_TIMEOUT_S = 300.0
POLL_RECORDS_MAX = 5000
POLL_S = 0.1
SILENCE_S = 60.0


def produce(order: Message) -> None:
    """Open a lane to every partition; then, round by round, send and wait until all is acknowledged."""
    topic, partitions, records = order["topic"], order["partitions"], order["records"]
    value = b"." * order["size_bytes"]
    with shmlog.connect(order["cluster"]) as cluster, cluster.producer() as producer:
        send = producer.send
        for partition in range(partitions):
            send(topic, value, partition=partition)
        producer.flush(FLUSH_TIMEOUT_S)
        say(ready=True)
        while hear() is not None:
            if order["keyed"]:
                for number in range(records):
                    send(topic, value, partition=number % partitions)
            else:
                for _ in range(records):
                    send(topic, value)
            producer.flush(FLUSH_TIMEOUT_S)
            say(failed=producer.metrics()["failed_batches"])


def consume(order: Message) -> None:
    """Round by round: read a share of the partitions from where the parent says, to the ends that it names later."""
    places = [TopicPartition(order["topic"], number) for number in order["share"]]
    with shmlog.connect(order["cluster"]) as cluster, cluster.consumer() as consumer:
        consumer.assign(places)
        consumer.poll(timeout=0.0)
        say(ready=True)
        while (start := hear()) is not None:
            for place in places:
                consumer.seek(place, start["begins"][place.partition])
            say(**_read_round(consumer, places))


def _read_round(consumer: shmlog.Consumer, places: list[TopicPartition]) -> dict[str, int]:
    records_read, ended_ns, ends = 0, time.monotonic_ns(), None
    while True:
        records = consumer.poll(max_records=POLL_RECORDS_MAX, timeout=POLL_S)
        if records:
            records_read += len(records)
            ended_ns = time.monotonic_ns()
            continue
        if ends is None:
            message = hear(0.0)
            ends = None if message is None else message["ends"]
        elif all(consumer.position(place) >= ends[place.partition] for place in places):
            return {"records": records_read, "ended_ns": ended_ns}
        elif time.monotonic_ns() - ended_ns > SILENCE_S * 1e9:
            raise TimeoutError(f"nothing came for {SILENCE_S:g} s, and not everything has come")


if __name__ == "__main__":
    request = orjson.loads(sys.argv[1])
    sys.exit(serve(lambda: produce(request) if request["role"] == "produce" else consume(request)))
