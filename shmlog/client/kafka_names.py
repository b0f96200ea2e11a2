"""What Kafka's Python clients have under names that are not here: who types one of them is told how it is done."""

from __future__ import annotations

from typing import Final, NoReturn


class Elsewhere:
    """A name without a value: hasattr() is false, and the AttributeError of who uses it says `how` it is done here."""

    def __init__(self, how: str) -> None:
        self._how = how

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        raise AttributeError(f"there is no {self._name}() here: {self._how}")


_NO_TRANSACTIONS: Final = "there are no transactions yet; records are sent once each, which is enable_idempotence"
_TOPICS: Final = "topics are described by cluster.admin: describe_topic(name).partitions, list_topics()"


class ConsumerNames:
    """Of KafkaConsumer in kafka-python and aiokafka, and Consumer in confluent-kafka."""

    unassign = Elsewhere("assign([]), or unsubscribe() in a group")
    incremental_assign = Elsewhere("a group's coordinator assigns; only partitions that move stop")
    incremental_unassign = Elsewhere("a group's coordinator assigns; only partitions that move stop")
    consume = Elsewhere("poll(max_records, timeout)")
    getone = Elsewhere("next(consumer)")
    getmany = Elsewhere("poll(max_records, timeout)")
    commit_async = Elsewhere("commit(asynchronous=True), which is one store in this process's shared memory")
    store_offsets = Elsewhere("commit(offsets, asynchronous=True), with enable_auto_commit=False")
    memberid = Elsewhere("member_id")
    consumer_group_metadata = Elsewhere("member_id, and cluster.admin describes groups")
    beginning_offsets = Elsewhere("watermarks(partition).low, for each partition")
    end_offsets = Elsewhere("watermarks(partition).high, for each partition")
    highwater = Elsewhere("watermarks(partition).high")
    get_watermark_offsets = Elsewhere("watermarks(partition)")
    partitions_for_topic = Elsewhere(_TOPICS)
    topics = Elsewhere(_TOPICS)
    list_topics = Elsewhere(_TOPICS)


class ProducerNames:
    """Of KafkaProducer in kafka-python and aiokafka, and Producer in confluent-kafka."""

    produce = Elsewhere("send(topic, value, key)")
    poll = Elsewhere("callbacks are called from send(), flush() and result()")
    send_and_wait = Elsewhere("send(...).result(timeout)")
    partitions_for = Elsewhere(_TOPICS)
    list_topics = Elsewhere(_TOPICS)
    init_transactions = Elsewhere(_NO_TRANSACTIONS)
    begin_transaction = Elsewhere(_NO_TRANSACTIONS)
