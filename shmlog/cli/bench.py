"""`shmlog bench`: starts the benchmarks, which are a program of their own (shmlog.tools.bench)."""

from __future__ import annotations

import os
import sys

import click

from shmlog.cli.output import output_option

KINDS = {
    "throughput": "records per second from send() to poll(), with the log written",
    "latency": "one-way latency of paced records, from when each should have been sent",
    "versus": "shmlog beside pipes, queues, ZeroMQ, iceoryx2, Redis Streams and NATS JetStream",
    "seek": "random seeks by offset and by time in one large partition",
    "scale": "a thousand partitions idle and under load beside six, and many clients on one",
    "startup": "starts over many segments, and the owner of a large against a small partition",
    "compaction": "a topic of many records of fewer keys compacted, and what a producer notices of it",
    "takeover": "supervisors killed with a standby beside them, until topics can be created again",
    "rebalance": "members of a consumer group killed, and new ones, until all that moved is read",
    "commit": "commits of a consumer in a group: in its memory, in the log, synced",
    "failover": "owners killed under a steady load: pauses, and whether anything was lost",
}


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog=f"""\b
Kinds:
{chr(10).join(f"  {kind:12}{what}" for kind, what in KINDS.items())}

\b
Examples:
  shmlog bench throughput
  shmlog bench throughput --size 1024 --bulk -o json
  shmlog bench throughput --targets             every case that has a target, met or missed
  shmlog bench latency --rate 1000 --seconds 10
  shmlog bench latency --ladder                 what each level of acks costs
  shmlog bench failover --kills 50
  shmlog bench takeover --rounds 20
  shmlog bench rebalance --members 10 --partitions 100
  shmlog bench commit -o json
  shmlog bench seek --records 10000000 --cold
  shmlog bench startup --segments 10000
  shmlog bench scale --partitions 100 --clients 20
  shmlog bench versus --peers pipe,queue --picture versus.svg
  shmlog bench failover --help                  the options of one of them
""",
    add_help_option=False,
)
@click.option("-h", "--help", "wants_help", is_flag=True, help="Show this message, or that of KIND, and exit.")
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="[KIND]", required=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@output_option
@click.pass_context
def bench(context: click.Context, wants_help: bool, kind: str | None, options: tuple[str, ...], output: str) -> None:
    """Measure an embedded cluster on this host.

    Every run first calibrates in its own process tree: loop_ns (a bare Python loop with one builtin call), copy_gbps
    (memcpy, CRC and pwrite of the same bytes on one core) and wake_us (half a futex round trip across cores); compare
    the figures with these, not with those of another machine or hour.
    """
    if kind is None:
        click.echo(context.get_help())
        raise click.exceptions.Exit(0 if wants_help else 2)
    arguments = [kind, *options, "--output", output] + (["--help"] if wants_help else [])
    command = [sys.executable, "-P", "-m", "shmlog.tools.bench", *arguments]
    sys.stdout.flush()
    os.execv(command[0], command)
