"""The zygote ends with its supervisor, quietly, whatever it was just doing."""

from __future__ import annotations

import importlib
import os
import select

from shmlog.control.channel import Channel

zygote_module = importlib.import_module("shmlog.workers.zygote")  # in the checkout it is workers/zygote.py


def test_a_supervisor_that_dies_while_it_is_told_of_a_death_ends_the_zygote_without_an_error() -> None:
    """Regression: a ChannelClosedError and its traceback in the log of the next supervisor."""
    channel, supervisors_end = Channel.pair(passes_fds=True)
    zygote = zygote_module.Zygote(channel, lambda spec, fd: 0)
    pid = os.posix_spawn("/bin/true", ["true"], {})
    pidfd = os.pidfd_open(pid)
    zygote._children[pidfd] = pid
    zygote._poll.register(pidfd, select.POLLIN)
    zygote._poll.unregister(channel.fileno())  # so that the death is what poll reports first
    supervisors_end.close()
    zygote.run()
    channel.close()
