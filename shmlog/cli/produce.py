"""`shmlog produce`: lines become records."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from shmlog.cli.attach import cluster_option, connect, require_partition, topic_argument
from shmlog.cli.escapes import unescape
from shmlog.cli.output import count_of
from shmlog.errors import ShmlogError
from shmlog.setting_tables import PRODUCER

if TYPE_CHECKING:
    from shmlog import Delivery, Producer

UNCONFIRMED_RECORDS_MAX = 10_000
PROGRESS_EVERY_LINES = 2000
SETTLE_TIMEOUT_S = 2.0
"""After an error: so long is waited for what was sent before it."""
Advance = Callable[[int], object]


class LineError(ShmlogError):
    """A line that could not be sent; says which, and what was sent before it."""

    name = "PRODUCE"


@click.command(
    epilog="""\b
Examples:
  seq 10 | shmlog produce numbers
  shmlog produce orders --file orders.tsv --key-separator '\\t'
  echo hello | shmlog produce greetings --header source=shell
  shmlog produce logs --file app.log --compression zstd --linger-ms 20
"""
)
@topic_argument
@click.option("--file", "file_name", type=click.Path(dir_okay=False), help="Read this file instead of standard input.")
@click.option("-K", "--key-separator", metavar="TEXT", help=r"Each line is key, TEXT, value; \t is a tab.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME=VALUE", help="For every record; repeatable.")
@click.option("-p", "--partition", type=click.IntRange(min=0), help="Default: by key; without key, batch by batch.")
@click.option("--acks", type=click.Choice(["all", "1", "0"]), default="all", show_default=True)
@click.option("--linger-ms", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--compression",
    type=click.Choice(PRODUCER["compression.type"].choices),
    default="none",
    show_default=True,
    help="What the partition's owner compresses batches with.",
)
@cluster_option
def produce(
    topic: str,
    file_name: str | None,
    key_separator: str | None,
    headers: tuple[str, ...],
    partition: int | None,
    acks: str,
    linger_ms: int,
    compression: str,
    name: str | None,
) -> None:
    """Send each line as a record to TOPIC, without its line end.

    Every line is on its way as soon as it is read. At the end, every delivery is confirmed; the first that fails is
    named by its line, with how many before it were delivered, and makes the exit code 1.
    """
    separator = unescape(key_separator) if key_separator is not None else None
    if separator == b"":
        raise click.UsageError("--key-separator must not be empty")
    pairs = [_header(text) for text in headers]
    settings: Any = {"acks": acks, "linger_ms": linger_ms, "compression_type": compression}
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(connect(name))
        found = cluster.admin.describe_topic(topic)  # before a line is read: an empty input has the same errors
        if partition is not None:
            require_partition(found, partition)
        lines = stack.enter_context(_open(file_name))
        advance = stack.enter_context(_progress(lines))
        producer = stack.enter_context(closing_producer(cluster.producer(**settings)))
        count = send_lines(producer, topic, lines, separator, pairs, partition, advance)
    if sys.stderr.isatty():
        click.echo(f"{count_of(count, 'record')} sent to {topic}", err=True)


def send_lines(
    producer: Producer,
    topic: str,
    lines: BinaryIO,
    separator: bytes | None,
    headers: list[tuple[str, bytes | None]],
    partition: int | None,
    advance: Advance,
) -> int:
    """Send every line and confirm every delivery; returns how many. Raises LineError."""
    send = producer.send
    unconfirmed: deque[Delivery] = deque()
    confirmed = number = 0
    unreported = 0
    for number, raw in enumerate(lines, 1):
        value = raw[:-1] if raw.endswith(b"\n") else raw
        key = None
        if separator is not None:
            key, found, value = value.partition(separator)
            if not found:
                raise LineError(
                    f"line {number} has no key separator {os.fsdecode(separator)!r}: add it, or leave --key-separator"
                    f" out ({_what_became_of(producer, confirmed, unconfirmed)})"
                )
        try:
            delivery = send(topic, value, key, headers, partition)
        except ShmlogError as error:
            account = _what_became_of(producer, confirmed, unconfirmed)
            raise LineError(f"line {number} was not sent: {error} ({account})") from error
        unconfirmed.append(delivery)
        if len(unconfirmed) > UNCONFIRMED_RECORDS_MAX:
            _confirm(producer, confirmed, unconfirmed)
            confirmed += 1
        unreported += len(raw)
        if number % PROGRESS_EVERY_LINES == 0:
            advance(unreported)
            unreported = 0
    advance(unreported)
    with contextlib.suppress(ShmlogError):  # the deliveries say which line it was
        producer.flush()
    while unconfirmed:
        _confirm(producer, confirmed, unconfirmed)
        confirmed += 1
    return number


def _confirm(producer: Producer, confirmed: int, unconfirmed: deque[Delivery]) -> None:
    """Wait for the oldest delivery and take it out; the line before it is number `confirmed`."""
    try:
        unconfirmed[0].result()
    except ShmlogError as error:
        number = confirmed + 1
        unconfirmed.popleft()
        account = _what_became_of(producer, confirmed, unconfirmed)
        raise LineError(f"line {number} was not delivered: {error} ({account})") from error
    unconfirmed.popleft()


def _what_became_of(producer: Producer, confirmed: int, unconfirmed: deque[Delivery]) -> str:
    """Of all the other lines that were sent, for who has to go on from there."""
    with contextlib.suppress(ShmlogError):
        producer.flush(SETTLE_TIMEOUT_S)
    delivered = confirmed + sum(1 for delivery in unconfirmed if delivery.done and delivery.error is None)
    failed = sum(1 for delivery in unconfirmed if delivery.done and delivery.error is not None)
    unknown = confirmed + len(unconfirmed) - delivered - failed
    said = [f"{count_of(delivered, 'other line')} delivered"]
    if failed:
        said.append(f"{count_of(failed, 'line')} failed")
    if unknown:
        said.append(f"{count_of(unknown, 'line')} accepted, and not acknowledged yet")
    return ", ".join(said)


@contextlib.contextmanager
def closing_producer(producer: Producer) -> Iterator[Producer]:
    """Close it at the end; after an error without waiting, and without another error in the place of the first."""
    try:
        yield producer
    except BaseException:
        with contextlib.suppress(ShmlogError):
            producer.close(0.0)
        raise
    producer.close()


@contextlib.contextmanager
def _open(file_name: str | None) -> Iterator[BinaryIO]:
    if file_name is None or file_name == "-":
        if sys.stdin is None:  # descriptor 0 is closed
            raise LineError("standard input is closed; give it lines, or --file")
        if sys.stdin.isatty():
            click.echo("one record per line; Ctrl-D ends", err=True)
        yield sys.stdin.buffer
        return
    try:
        with open(file_name, "rb") as lines:
            yield lines
    except FileNotFoundError:
        raise LineError(f"{file_name}: no such file") from None


@contextlib.contextmanager
def _progress(lines: BinaryIO) -> Iterator[Advance]:
    """A bar on a terminal, if the size is known; otherwise nothing."""
    status = os.fstat(lines.fileno())
    if not stat.S_ISREG(status.st_mode) or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=status.st_size)
        yield lambda count: progress.advance(task, count)


def _header(text: str) -> tuple[str, bytes | None]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--header takes NAME=VALUE, not {text!r}")
    return name, os.fsencode(value)
