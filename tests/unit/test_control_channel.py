"""The control channel: whole messages both ways, descriptors where announced, and hostile bytes refused."""

from __future__ import annotations

import dataclasses
import os
import socket
import typing
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given, strategies as st

from shmlog.control import messages
from shmlog.control.channel import UNSENT_BYTES_MAX, Channel, ChannelClosedError
from shmlog.control.codec import decode, encode, request_id_of
from shmlog.control.messages import (
    CreateTopic,
    DescribeTopics,
    Done,
    Hello,
    LaneHeld,
    Message,
    OwnerReady,
    OwnerSpec,
    Spawned,
    SpawnOwner,
    TopicsDescribed,
)
from shmlog.errors import ForeignVersionError, InvalidRequestError, ShmlogError
from shmlog.limits import CONTROL_MESSAGE_BYTES_MAX
from shmlog.memory.lane import LaneTerms

SPEC = OwnerSpec(
    "id", "name", "0123abcd", "/run", "t", "tid", 0, 7, 1, "/data/t-0", {"retention.ms": "1"}, 0o600, None, True
)
ALL_KINDS: list[type[typing.Any]] = [
    kind
    for group in (
        messages.Request,
        messages.Reply,
        messages.OwnerOrder,
        messages.OwnerReport,
        messages.ZygoteMessage,
    )
    for kind in typing.get_args(group)
]
int64 = st.integers(-(2**63), 2**63 - 1)
st.register_type_strategy(int, int64)
st.register_type_strategy(str, st.text(st.characters(codec="utf-8"), max_size=20))


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair(passes_fds=True)
    other = Channel(theirs, passes_fds=True)
    yield ours, other
    ours.close()
    other.close()


@pytest.fixture
def hostile() -> Iterator[tuple[Channel, socket.socket]]:
    channel, raw = Channel.pair()
    yield channel, raw
    channel.close()
    raw.close()


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


@given(st.data())
def test_every_kind_of_message_survives_the_journey_as_bytes(data: st.DataObject) -> None:
    message = data.draw(st.one_of([st.builds(kind) for kind in ALL_KINDS if kind is not Hello]))
    assert decode(encode(message)) == message


def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    sent: list[Message] = [Done(1), DescribeTopics(2, None), CreateTopic(3, "t", None, 1, {"a": "b"}), Done(4)]
    for message in sent:
        ours.send(message)
    assert [other.receive(1.0) for _ in sent] == sent
    assert other.receive() is None


def test_a_message_larger_than_the_socket_buffer_goes_in_pieces(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    large = DescribeTopics(9, ["x" * 1000] * 3000)
    ours.send(large)
    assert ours.has_unsent
    received = None
    while received is None:
        ours.flush()
        received = other.receive()
    assert received == large
    assert not ours.has_unsent


def test_a_descriptor_arrives_with_its_own_message(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    pipes = [os.pipe() for _ in range(3)]
    for number, (reading, _) in enumerate(pipes):
        ours.send(Spawned(number, None, 100 + number, 0), [reading])
        os.close(reading)
    for number, (_, writing) in enumerate(pipes):
        got = other.receive_with_fds(1.0)
        assert got is not None
        message, (fd,) = got
        assert message == Spawned(number, None, 100 + number, 0)
        assert not os.get_inheritable(fd)
        os.write(writing, b"%d" % number)
        assert os.read(fd, 9) == b"%d" % number
        os.close(fd)
        os.close(writing)


def test_a_message_without_its_descriptor_is_refused(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    ours.endpoint.send(framed(encode(SpawnOwner(SPEC))))
    with pytest.raises(InvalidRequestError, match="without its file descriptor"):
        other.receive(1.0)


def test_descriptors_of_a_stranger_are_never_taken(hostile: tuple[Channel, socket.socket]) -> None:
    channel, raw = hostile
    before = len(os.listdir("/proc/self/fd"))
    reading, writing = os.pipe()
    socket.send_fds(raw, [framed(encode(Done(1)))], [reading] * 50)
    os.close(reading)
    assert channel.receive(1.0) == Done(1)
    with pytest.raises(BrokenPipeError):  # nobody has the reading end any more
        os.write(writing, b"x")
    os.close(writing)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_other_side_going_away_is_told_after_its_last_message(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    ours.send(Done(1))
    ours.close()
    assert other.receive(1.0) == Done(1)
    with pytest.raises(ChannelClosedError):
        other.receive(1.0)
    with pytest.raises(ChannelClosedError):
        other.send(Done(2))


def test_a_peer_that_does_not_read_is_cut_off(hostile: tuple[Channel, socket.socket]) -> None:
    channel, _ = hostile
    large = DescribeTopics(1, ["x" * (CONTROL_MESSAGE_BYTES_MAX // 2)])
    fitting = 2 * UNSENT_BYTES_MAX // CONTROL_MESSAGE_BYTES_MAX
    for _ in range(fitting):
        channel.send(large)
    with pytest.raises(ChannelClosedError, match="does not read"):
        channel.send(large)


@pytest.mark.parametrize("length", [0, CONTROL_MESSAGE_BYTES_MAX + 1, 2**32 - 1])
def test_a_length_that_no_message_has_is_refused_at_once(hostile: tuple[Channel, socket.socket], length: int) -> None:
    channel, raw = hostile
    raw.send(length.to_bytes(4, "big") + b"{}")
    for _ in range(2):  # and stays refused: the framing is lost
        with pytest.raises(InvalidRequestError, match="not a shmlog client"):
            channel.receive(1.0)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"\xff\x00", InvalidRequestError),
        (b"[1,2]", InvalidRequestError),
        (b'{"kind":7}', InvalidRequestError),
        (b'{"kind":"Done","request_id":true}', InvalidRequestError),
        (b'{"kind":"Done","request_id":1.0}', InvalidRequestError),
        (b'{"kind":"Done","request_id":123456789012345678901234567890}', InvalidRequestError),
        (b'{"kind":"DescribeTopics","request_id":5,"topics":[1]}', InvalidRequestError),
        (b'{"kind":"CreateTopic","request_id":5,"name":"t","partitions":1,"replication_factor":1,"config":{"a":1}}',
         InvalidRequestError),
        (b'{"kind":"Done"}', ForeignVersionError),
        (b'{"kind":"Done","request_id":5,"more":1}', ForeignVersionError),
        (b'{"kind":"Frobnicate","request_id":5}', ForeignVersionError),
        (b'{"kind":"PartitionDescription","request_id":5}', ForeignVersionError),
        (b"[" * 100_000, InvalidRequestError),
    ],
)  # fmt: skip
def test_a_message_of_no_known_shape_is_refused_and_the_next_one_understood(
    hostile: tuple[Channel, socket.socket], payload: bytes, error: type[ShmlogError]
) -> None:
    channel, raw = hostile
    raw.send(framed(payload) + framed(encode(Done(8))))
    with pytest.raises(error):
        channel.receive(1.0)
    assert channel.refused_request_id == request_id_of(payload)
    assert channel.receive(1.0) == Done(8)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_decoder_raise_anything_but_its_two_refusals(payload: bytes) -> None:
    with pytest.raises((InvalidRequestError, ForeignVersionError)):
        decode(payload)


json_values = st.recursive(
    st.none() | st.booleans() | int64 | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_a_message_with_one_field_replaced_is_the_same_type_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([kind for kind in ALL_KINDS if dataclasses.fields(kind)]))
    body = orjson.loads(encode(data.draw(st.builds(kind))))
    name = data.draw(st.sampled_from(sorted(body)))
    body[name] = data.draw(json_values)
    try:
        message = decode(orjson.dumps(body))
    except (InvalidRequestError, ForeignVersionError):
        return
    assert orjson.loads(encode(message)) == body


def test_another_protocol_is_refused_naming_both_versions_even_if_its_hello_looks_different() -> None:
    payload = b'{"kind":"Hello","request_id":1,"protocol":99,"version":"7.8.9","colour":"red"}'
    with pytest.raises(ForeignVersionError) as caught:
        decode(payload)
    assert "7.8.9" in str(caught.value)
    assert "protocol 99" in str(caught.value)
    assert f"protocol {messages.PROTOCOL}" in str(caught.value)
    assert request_id_of(payload) == 1


def test_lists_in_reports_keep_their_shape() -> None:
    ready = OwnerReady(1, 2, 3, 4, 5, 6, 7, [LaneHeld(8, LaneTerms(9, 10, 11, 12, 13))], "", False)
    assert decode(encode(ready)) == ready
    assert decode(encode(TopicsDescribed(1, []))) == TopicsDescribed(1, [])
