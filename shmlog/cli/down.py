"""`shmlog down`: stop a cluster cleanly."""

from __future__ import annotations

import os
import select
import signal

import click

from shmlog.cli.attach import cluster_option
from shmlog.cli.cluster_paths import OutOfReachError, find_cluster
from shmlog.client.absence import explain
from shmlog.errors import NoClusterError, PollTimeoutError


@click.command(
    epilog="""\b
Examples:
  shmlog down
  shmlog down --name test --timeout 10
"""
)
@cluster_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, max=86_400),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the end.",
)
def down(name: str | None, timeout: float) -> None:
    """Stop a cluster: what was accepted is written, segments are closed, shared memory is given back."""
    place = find_cluster(name)
    if place.pid is None:
        if os.path.exists(place.runtime.control_socket):  # it died, and its owners may live
            raise explain(place.name, place.runtime, was_connected=False)
        raise NoClusterError(f"no cluster {place.name!r} is running; there is nothing to stop")
    if place.pid == 0:
        raise OutOfReachError(
            f"the supervisor of {place.name!r} runs in another pid namespace: run `shmlog down` in its container"
        )
    stop_process(place.pid, timeout)
    click.echo(f"cluster {place.name!r} is down")


def stop_process(pid: int, timeout_s: float) -> None:
    """SIGTERM, and wait until the kernel says that the process has ended. Raises PollTimeoutError."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], timeout_s)[0]:
            raise PollTimeoutError(
                f"pid {pid} is still closing after {timeout_s:g} s; see `shmlog status` and `shmlog logs`"
            )
    except PermissionError:
        raise OutOfReachError(f"pid {pid} belongs to another user: ask that user, or use sudo") from None
    except ProcessLookupError:
        return
    finally:
        os.close(process)
