"""A process that the zygote forks for us, an owner or a follower: its channel, its pidfd, its last words and its end.

    ordered --spawned--> lives --its pidfd is readable--> exited
       \\--refused (no process to be had, or the zygote died over it)--^
    expected --it comes back--> lives

What it says and what its end means is known to who ordered it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import FollowerOrder, FollowerSpec, Message, OwnerOrder, OwnerSpec
from shmlog.errors import ShmlogError
from shmlog.native.doorbell import Doorbell
from shmlog.supervisor.loop import Loop, Watch
from shmlog.supervisor.zygote import ZygoteLink

log = logging.getLogger(__name__)


class Worker:
    """One worker process, from the order to start it until its exit was seen. `title` is its name in the log."""

    def __init__(self, loop: Loop, title: str, bell: Doorbell | None = None) -> None:
        """Raises OSError if there are no descriptors to be had."""
        self._loop = loop
        self.title = title
        self.bell = bell
        """Where it sleeps; None: not known yet. It belongs to this object."""
        self.channel, self._end = Channel.pair()
        self.pid = 0
        """0: not forked yet."""
        self.progress_ns = 0
        """When it last showed that it gets on with its start."""
        self.rung_ns: int | None = None
        """Since when it has been expected to show that it lives; None: nobody doubts it."""
        self.said_goodbye = False
        """It has said why it ends: no other reason need be looked for."""
        self.is_broken = False
        """Nothing that it says is heard any more: it has closed its channel, or talks nonsense and is killed for it."""
        self.is_expected = False
        """An earlier supervisor had it forked, it lives, and has not come back yet."""
        self._pidfd = -1
        self._watch: Watch | None = None  # of its channel, which nobody reads before its pidfd is there
        self._pid_watch: Watch | None = None
        self._hear: Callable[[Message], None] = lambda _: None
        self._on_refused: Callable[[str], None] = lambda _: None
        self._on_exit: Callable[[], None] = lambda: None

    def order(
        self,
        zygote: ZygoteLink,
        spec: OwnerSpec | FollowerSpec,
        *,
        hear: Callable[[Message], None],
        on_refused: Callable[[str], None],
        on_exit: Callable[[], None],
    ) -> None:
        """Have it forked. `hear` gets everything that it says, `on_refused` the reason if there can be no process.

        `on_exit` is called once, whatever happens, after its last words were heard and its channel was closed.
        """
        self._hear, self._on_refused, self._on_exit = hear, on_refused, on_exit
        zygote.spawn(spec, self._end, self._spawned, self._refused)

    def expect(self, pid: int, pidfd: int, *, hear: Callable[[Message], None], on_exit: Callable[[], None]) -> None:
        """An earlier supervisor had it forked; takes over `pidfd`. `hear` and `on_exit` as in order()."""
        self._hear, self._on_exit, self.is_expected = hear, on_exit, True
        self.pid, self._pidfd, self.progress_ns = pid, pidfd, self._loop.now_ns()
        self._pid_watch = self._loop.watch(pidfd, self._exited)

    def come_back(self, channel: Channel, message: Message) -> None:
        """It talks to us over `channel` from now on, and said `message` first."""
        self.is_expected = False
        self.channel.close()
        self._end.close()
        self.channel = channel
        self._watch = self._loop.watch(channel.fileno(), self.listen)
        self._hear(message)

    def send(self, order: OwnerOrder | FollowerOrder) -> None:
        """Give an order and wake it. What its socket does not take now goes as soon as it does."""
        with contextlib.suppress(ChannelClosedError):  # it is dying: its pidfd says so in a moment
            self.channel.send(order)
            if self.channel.has_unsent and self._watch is not None:
                self._loop.when_writable(self._watch, self._flush)
        self.ring()

    def ring(self) -> None:
        """Wake it, if it sleeps."""
        if self.bell is not None:
            self.bell.ring()

    def listen(self) -> None:
        """Hear what it has said by now."""
        while (message := self._receive()) is not None:
            self._hear(message)

    def kill(self) -> None:
        """SIGKILL. Nobody acts in its place before `on_exit`."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it, dead or alive, and of nothing else. A second call does nothing."""
        for watch in (self._watch, self._pid_watch):
            if watch is not None:
                self._loop.forget(watch)
        self.channel.close()
        if self.is_expected:
            self._end.close()
            self.is_expected = False
        if self.bell is not None:
            self.bell.close()
        if self._pidfd >= 0:
            with contextlib.suppress(ChildProcessError):  # the zygote's child, unless the zygote died before it
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
            os.close(self._pidfd)
            self._pidfd = -1

    # --- what happens -------------------------------------------------------------------------------------------------

    def _spawned(self, pid: int, pidfd: int) -> None:
        self.pid, self._pidfd, self.progress_ns = pid, pidfd, self._loop.now_ns()
        self._pid_watch = self._loop.watch(pidfd, self._exited)
        # only now: it may have said that it is ready, and nobody could kill it or say who it is
        self._watch = self._loop.watch(self.channel.fileno(), self.listen)

    def _refused(self, reason: str | None) -> None:
        if reason is not None:
            self._on_refused(reason)
        self.close()
        self._on_exit()

    def _exited(self) -> None:
        """The kernel says that it is gone: hear its last words, then act in its place."""
        self.listen()
        self.close()
        self._on_exit()

    def _receive(self) -> Message | None:
        if self.is_broken:
            return None
        try:
            return self.channel.receive()
        except ShmlogError as error:
            self.is_broken = True
            if self._watch is not None:
                self._loop.forget(self._watch)
            if not self.said_goodbye:
                if not isinstance(error, ChannelClosedError):
                    log.error("%s talks nonsense: %s", self.title, error)
                self.kill()
            return None

    def _flush(self) -> None:
        assert self._watch is not None, "nobody sends to a worker that is not there"
        with contextlib.suppress(ChannelClosedError):
            if not self.channel.flush():
                return
        self._loop.when_writable(self._watch, None)
        self.ring()
