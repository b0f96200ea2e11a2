"""A process's registration with a cluster: control socket, life lock, client region; and how it outlives a supervisor.

The supervisor may die and be started again at any time, while records keep flowing through shared memory. The next
request, or the next idle moment of a waiting consumer, then connects to the new one and says Hello with the old client
id. If the new supervisor does not know that id (the whole cluster was restarted) we register anew: another client
region, another life lock; `registrations` grows, so that users of the region notice.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from shmlog.client.absence import condition, explain
from shmlog.client.handle import Handle
from shmlog.client.question import Question
from shmlog.client.registration import Registration
from shmlog.client.session import Session
from shmlog.control import life
from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.last_start import restart_command
from shmlog.control.messages import (
    PROTOCOL,
    CloseLane,
    DescribeCluster,
    DescribeTopics,
    Done,
    FindCoordinator,
    Hello,
    InitProducerId,
    MendReplica,
    OpenLane,
    PlaceTopic,
    Reply,
    Request,
    Subscribe,
    TraceTopics,
    Unsubscribe,
    Welcome,
)
from shmlog.control.paths import RuntimePaths, require_trusted
from shmlog.errors import (
    BrokerNotAvailableError,
    ForeignVersionError,
    NoClusterError,
    PollTimeoutError,
    ShmBudgetExceededError,
    ShmlogError,
)
from shmlog.limits import (
    CONNECT_PAUSE_FIRST_S,
    CONNECT_PAUSE_S,
    CONNECT_TIMEOUT_S,
    CONTROL_TIMEOUT_S,
    LOCATION_ANSWER_S,
)
from shmlog.memory.client_region import ClientRegion
from shmlog.memory.client_slot import NO_TOKEN, Slot
from shmlog.native.doorbell import Doorbell
from shmlog.version import VERSION

if TYPE_CHECKING:
    from shmlog.client.loop_bell import LoopBells

ReplyType = TypeVar("ReplyType", bound=Reply)

REPEATS_MAX: Final = 3
"""So often a request that is harmless to repeat is sent again when a supervisor died over it."""

GREETING_S_MIN: Final = 0.2
"""A supervisor gets at least this long to answer Hello."""

_NOT_REACHED = (FileNotFoundError, ConnectionRefusedError, BlockingIOError, ChannelClosedError, PollTimeoutError)
"""What an attempt to connect ends in when another one, a moment later, may reach a supervisor."""

_REPEATABLE = (
    CloseLane,
    DescribeCluster,
    DescribeTopics,
    FindCoordinator,
    MendReplica,
    OpenLane,
    PlaceTopic,
    Subscribe,
    TraceTopics,
    Unsubscribe,
)
"""Requests that may be sent again when the supervisor died over them: twice is as good as once. (A lane that was opened
for a reply that never came stays unused until this process ends.)"""


class Connection(Handle):
    """Requests to the supervisor from any thread, and this process's client region.

    The constructor raises NoClusterError when no supervisor lives, and BrokerNotAvailableError when one does and has
    not answered within `timeout_s`.
    """

    def __init__(self, cluster_name: str, paths: RuntimePaths, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        super().__init__("connection")
        self.cluster_name = cluster_name
        self.paths = paths
        self.registrations = 0
        """Grows when the client region is replaced: slots and lanes of the old one are gone."""
        self.reconnects = 0
        """Grows with every new connection to a supervisor after the first."""
        self._connecting = threading.Lock()
        self._subscribing = threading.Lock()
        self._subscriptions: Counter[int] = Counter()  # partition id -> how many handles of ours wait for it
        self._welcome: Welcome | None = None
        self._registration: Registration | None = None
        self._session: Session | None = None
        self._next_look = 0.0
        self._beginning_to_await = threading.Lock()
        self._loop_bells: LoopBells | None = None
        self._connected(time.monotonic() + timeout_s)

    # --- what the supervisor told us ----------------------------------------------------------------------------------

    @property
    def welcome(self) -> Welcome:
        """The supervisor's last greeting: ids, directories, version."""
        assert self._welcome is not None
        return self._welcome

    @property
    def tag(self) -> str:
        """The cluster's eight characters in the names of shared-memory regions."""
        return self.welcome.cid8

    @property
    def client_id(self) -> int:
        return self.welcome.client_id

    @property
    def region(self) -> ClientRegion:
        """This process's client region. Ask again after `registrations` has grown."""
        registration = self._registration
        if registration is None:  # lost with the cluster, and nobody has greeted us since
            raise explain(self.cluster_name, self.paths, was_connected=True)
        return registration.region

    @property
    def doorbell(self) -> Doorbell:
        """What owners ring and all threads of this connection sleep on. Ask again for every sleep."""
        doorbell = self.region.doorbell
        assert doorbell is not None
        return doorbell

    @property
    def loop_bells(self) -> LoopBells:
        """What tasks of event loops sleep on."""
        self.check_usable()
        bells = self._loop_bells
        if bells is None:
            from shmlog.client.loop_bell import LoopBells

            with self._beginning_to_await:
                bells = self._loop_bells = self._loop_bells or LoopBells(self)
        return bells

    def nudge(self) -> None:
        """Have waiting tasks look again: a handle was closed."""
        if self._loop_bells is not None:
            self._loop_bells.nudge()

    # --- requests -----------------------------------------------------------------------------------------------------

    def request(self, message: Request, expected: type[ReplyType], timeout_s: float = CONTROL_TIMEOUT_S) -> ReplyType:
        """Send `message` (its request_id does not matter) and wait for its reply.

        Connects to a restarted supervisor first where necessary. Raises what the supervisor refused it with,
        PollTimeoutError after `timeout_s`, NoClusterError if no supervisor comes back within CONNECT_TIMEOUT_S, and
        BrokerNotAvailableError if one is there and does not answer a greeting, or if it died over this request, so that
        nobody knows whether it was done.
        """
        self.check_usable()
        try:
            return self._request_until(time.monotonic() + timeout_s, message, expected)
        except PollTimeoutError as error:
            pid = life.holder(self.paths.supervisor_lock)
            start = f"`{restart_command(self.cluster_name, self.paths.supervisor_lock)}`"
            silence = "" if pid is None else f"; it {condition(pid, start)}"
            raise PollTimeoutError(f"{error}{silence}") from error

    def _request_until(self, deadline: float, message: Request, expected: type[ReplyType]) -> ReplyType:
        deaths = 0
        while True:
            session = self._connected(min(deadline, time.monotonic() + CONNECT_TIMEOUT_S))
            try:
                request_id = session.send(message, deadline)
            except ChannelClosedError:
                self.check_usable()  # it may be closed because we closed it
                continue
            try:
                return session.reply(request_id, expected, deadline)
            except ChannelClosedError as error:
                self.check_usable()
                deaths += 1
                name = type(message).__name__
                if not isinstance(message, _REPEATABLE) and not _asks_for_new_id(message):
                    raise BrokerNotAvailableError(
                        f"the supervisor of cluster {self.cluster_name!r} went away over a {name} request: it may have"
                        " been carried out or not; look before you repeat it"
                    ) from error
                if deaths > REPEATS_MAX:
                    raise BrokerNotAvailableError(
                        f"the supervisor of cluster {self.cluster_name!r} went away over a {name} request,"
                        f" {deaths} times"
                    ) from error

    def ask(self, message: Request) -> Question | None:
        """Send `message` without waiting for the answer; None when no supervisor is there now."""
        self.look()
        session = self._session
        if session is None or session.lost:
            return None
        with suppress(ChannelClosedError, PollTimeoutError):
            return Question(session, session.send(message, time.monotonic()))
        return None

    def tell(self, message: Request) -> None:
        """Send `message` if a supervisor is there to take it. Nobody hears what came of it."""
        session = self._session
        if session is not None and not self.closed:
            with suppress(ChannelClosedError, PollTimeoutError):
                session.send(message, time.monotonic(), reply_wanted=False)

    def subscribe(self, partition_ids: Iterable[int]) -> None:
        """From now on the owners of these partitions ring our doorbell. Each call wants its unsubscribe()."""
        with self._subscribing:
            wanted = list(partition_ids)
            fresh = [partition_id for partition_id in wanted if not self._subscriptions[partition_id]]
            self._subscriptions.update(wanted)  # first: a reconnect meanwhile sends them too
            try:
                if fresh:
                    self.request(Subscribe(0, fresh), Done)
            except BaseException:
                self._subscriptions.subtract(wanted)
                raise

    def subscribe_soon(self, partition_ids: Iterable[int]) -> None:
        """subscribe(), for who goes on without a supervisor: the next one hears of it."""
        with self._subscribing:
            wanted = list(partition_ids)
            fresh = [partition_id for partition_id in wanted if not self._subscriptions[partition_id]]
            self._subscriptions.update(wanted)
            question = self.ask(Subscribe(0, fresh)) if fresh else None
            if question is not None:
                with suppress(ChannelClosedError, PollTimeoutError):
                    question.wait(Done, LOCATION_ANSWER_S)

    def unsubscribe(self, partition_ids: Iterable[int]) -> None:
        """Take a subscribe() back. Does not wait for the supervisor, and needs none."""
        with self._subscribing:
            given_up = list(partition_ids)
            self._subscriptions.subtract(given_up)
            gone = [partition_id for partition_id in given_up if self._subscriptions[partition_id] <= 0]
            for partition_id in gone:
                del self._subscriptions[partition_id]
            if gone:
                self.tell(Unsubscribe(0, gone))  # a lost supervisor knows no subscriptions

    def look(self) -> None:
        """For idle moments: notice a supervisor that went away, and connect to its successor if there is one.

        Never waits, never raises for an absent supervisor, and does nothing when called again within a second.
        """
        if time.monotonic() >= self._next_look:
            self.look_now()

    def look_now(self) -> None:
        """look(), however long ago the last one was."""
        self.check_usable()
        now = time.monotonic()
        self._next_look = now + 1.0
        session = self._session
        if session is not None:
            session.look()
            if not session.lost:
                return
        if self._connecting.acquire(blocking=False):  # else another thread is at it
            try:
                with suppress(NoClusterError, BrokerNotAvailableError):
                    self._connect_until(now)
            finally:
                self._connecting.release()

    # --- the client region's slots ------------------------------------------------------------------------------------

    def claim_slot(self, partition_id: int, token: int = NO_TOKEN) -> Slot | None:
        """A slot to show a position in; None when all are taken or there is no region: positions are only for show."""
        with self._subscribing, suppress(ShmBudgetExceededError, NoClusterError):
            return self.region.claim_slot(partition_id, token)
        return None

    # --- connecting ---------------------------------------------------------------------------------------------------

    def _connected(self, deadline: float) -> Session:
        """The session, connected again if it was lost; tries until `deadline`, and at least once."""
        with self._connecting:
            return self._connect_until(deadline)

    def _connect_until(self, deadline: float) -> Session:
        """_connected() for who holds the lock."""
        if self._session is not None and not self._session.lost:
            return self._session
        pause_s = CONNECT_PAUSE_FIRST_S  # a standby may be there in a moment
        while True:
            self.check_usable()
            try:
                return self._connect(max(deadline, time.monotonic() + GREETING_S_MIN))
            except _NOT_REACHED as error:
                expected_soon = self._welcome is not None or life.holder(self.paths.supervisor_lock) is not None
                if not expected_soon or time.monotonic() >= deadline:
                    raise explain(self.cluster_name, self.paths, was_connected=self._welcome is not None) from error
            except PermissionError as error:
                raise NoClusterError(
                    f"no permission to talk to cluster {self.cluster_name!r} at {self.paths.control_socket}: it belongs"
                    " to another user; shm.mode and shm.group can let a group in"
                ) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, CONNECT_PAUSE_S)

    def _connect(self, deadline: float) -> Session:
        require_trusted(self.paths)
        session, welcome = self._greet(deadline)
        try:
            self._register(welcome)
            waited_for = sorted(self._subscriptions)
            if waited_for:
                session.reply(session.send(Subscribe(0, waited_for), deadline), Done, deadline)
        except BaseException:
            session.close()
            raise
        if self._session is not None:
            self._session.close()
            self.reconnects += 1
        self._session = session
        return session

    def _greet(self, deadline: float) -> tuple[Session, Welcome]:
        """Say Hello with the id that we had; without, if this supervisor does not know it."""
        known_id = self._welcome.client_id if self._welcome is not None else None
        for client_id in dict.fromkeys((known_id, None)):
            session = Session(Channel.connect(self.paths.control_socket))
            try:
                sent = session.send(Hello(0, PROTOCOL, VERSION, os.getpid(), client_id), deadline)
                return session, session.reply(sent, Welcome, deadline)
            except BaseException as error:
                session.close()
                refused = isinstance(error, ShmlogError) and not isinstance(
                    error, (BrokerNotAvailableError, ForeignVersionError, PollTimeoutError)
                )
                if client_id is None or not refused:
                    raise
        raise AssertionError("the last greeting returns or raises")

    def _register(self, welcome: Welcome) -> None:
        """Take the life lock and map the client region, unless we hold exactly these already."""
        if self._registration is None or not self._registration.is_of(welcome, self.paths):
            if self._registration is not None:
                self._registration.replace()
                self._registration = None
            self._registration = Registration(welcome, self.paths)
            self.registrations += 1
        self._welcome = welcome

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything; the supervisor removes the client region. A second call does nothing."""
        if self._closed or self.inherited:
            return
        self._closed = True
        if self._session is not None:
            self._session.close()
        if self._loop_bells is not None:
            self._loop_bells.close()
        if self._registration is not None:
            self._registration.close()

    def abandon(self) -> None:
        if self._loop_bells is not None:
            self._loop_bells.abandon()
        if self._session is not None:
            self._session.abandon()
        if self._registration is not None:
            self._registration.abandon()


def _asks_for_new_id(message: Request) -> bool:
    return isinstance(message, InitProducerId) and message.producer_id is None
