"""Every request of a client and who carries it out."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic_ns

from shmlog.control.messages import (
    AlterTopic,
    CheckCompression,
    ClientDescription,
    CloseLane,
    ClusterDescribed,
    CreateTopic,
    DeleteRecords,
    DeleteTopic,
    DescribeCluster,
    DescribeTopics,
    ElectLeader,
    FindCoordinator,
    Hello,
    ImportTopic,
    InitProducerId,
    MendReplica,
    MoveReplica,
    OpenLane,
    PlaceTopic,
    ProducerIdGranted,
    Request,
    Shutdown,
    Subscribe,
    Trace,
    TraceTopics,
    Unsubscribe,
)
from shmlog.errors import BrokerNotAvailableError, InvalidRequestError
from shmlog.limits import PRODUCER_EPOCH_MAX, TRACE_INTERVAL_US_MAX, TRACE_INTERVAL_US_MIN, TRACE_LEASE_MS_MAX
from shmlog.machines.producer_id import check_producer_id, producer_id_of
from shmlog.record.compression import check_available, codec_named
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.clients import Client, Clients
from shmlog.supervisor.coordinators import Coordinators, check_not_coordinators
from shmlog.supervisor.damage import DamageWatch
from shmlog.supervisor.deletions import Deletions
from shmlog.supervisor.describe import describe_directories
from shmlog.supervisor.disk_reserve import DiskReserve
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.introductions import Introductions
from shmlog.supervisor.lanes import Lanes
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.regions import Regions
from shmlog.supervisor.replicas import Replicas
from shmlog.supervisor.topics import Topics
from shmlog.version import VERSION


class Requests:
    """take() answers, sees to a later answer, or raises the refusal."""

    def __init__(
        self,
        identity: ClusterIdentity,
        catalog: Catalog,
        regions: Regions,
        owners: Owners,
        clients: Clients,
        introductions: Introductions,
        lanes: Lanes,
        topics: Topics,
        damage: DamageWatch,
        replicas: Replicas,
        reserve: DiskReserve,
        mend: Callable[[MendReplica], None],
        deletions: Deletions,
        coordinators: Coordinators,
        shut_down: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._catalog = catalog
        self._regions = regions
        self._owners = owners
        self._clients = clients
        self._introductions = introductions
        self._lanes = lanes
        self._topics = topics
        self._damage = damage
        self._replicas = replicas
        self._reserve = reserve
        self._mend = mend
        self._deletions = deletions
        self._coordinators = coordinators
        self._shut_down = shut_down
        self.is_closing = False

    def take(self, client: Client, request: Request, answer: Answer) -> None:
        self._check_closing(request)
        match request:
            case DescribeTopics() | CreateTopic() | DeleteTopic() | AlterTopic() | PlaceTopic() | ImportTopic():
                self._take_topic(request, answer)
            case InitProducerId():
                self._init_producer_id(client, request, answer)
            case OpenLane() | CloseLane():
                self._take_lane(client, request, answer)
            case DeleteRecords():
                self._deletions.delete(request, answer)
            case FindCoordinator():
                self._coordinators.find(request, answer)
            case CheckCompression(compression_type=name):
                check_available(codec_named(name))
                answer.done()
            case Subscribe():
                self._introductions.subscribe(client, request.partition_ids)
                answer.done()
            case Unsubscribe():
                self._introductions.unsubscribe(client, request.partition_ids)
                answer.done()
            case TraceTopics():
                self._trace(request)
                answer.done()
            case ElectLeader() | MoveReplica() | MendReplica():
                self._take_replica(request, answer)
            case DescribeCluster():
                answer.give(self._describe_cluster(answer.request_id))
            case Shutdown():
                answer.done()
                self._shut_down()
            case Hello():
                raise AssertionError("the session answers Hello")

    def _take_lane(self, client: Client, request: OpenLane | CloseLane, answer: Answer) -> None:
        match request:
            case OpenLane():
                check_not_coordinators(request)
                self._lanes.open(client, request, answer)
            case CloseLane():
                self._lanes.close(client, request.lane_id, answer)

    def _take_topic(
        self,
        request: DescribeTopics | CreateTopic | DeleteTopic | AlterTopic | PlaceTopic | ImportTopic,
        answer: Answer,
    ) -> None:
        if not isinstance(request, DescribeTopics):
            check_not_coordinators(request)
        match request:
            case DescribeTopics():
                self._topics.describe(request, answer)
            case CreateTopic():
                self._topics.create(request, answer)
            case DeleteTopic():
                self._topics.delete(request, answer)
            case AlterTopic():
                self._topics.alter(request, answer)
            case PlaceTopic():
                self._topics.place(request, answer)
            case ImportTopic():
                self._topics.bring_in(request, answer)

    def _take_replica(self, request: ElectLeader | MoveReplica | MendReplica, answer: Answer) -> None:
        match request:
            case ElectLeader():
                self._replicas.elect(request, answer)
                return
            case MoveReplica():
                self._replicas.move(request)
            case MendReplica():
                self._mend(request)
        answer.done()

    def _init_producer_id(self, client: Client, request: InitProducerId, answer: Answer) -> None:
        if request.producer_id is None or request.epoch is None or request.epoch >= PRODUCER_EPOCH_MAX:
            if request.producer_id is not None:
                check_producer_id(request.producer_id, client.client_id)
            fresh = producer_id_of(client.client_id, self._catalog.next_id("producer"))
            answer.give(ProducerIdGranted(answer.request_id, fresh, 0))
            return
        check_producer_id(request.producer_id, client.client_id)
        if request.producer_id < 0 or request.epoch < 0:
            raise InvalidRequestError(
                f"producer id {request.producer_id} with epoch {request.epoch} was never granted by this cluster"
            )
        answer.give(ProducerIdGranted(answer.request_id, request.producer_id, request.epoch + 1))

    def _check_closing(self, request: Request) -> None:
        if self.is_closing and not isinstance(request, (DescribeCluster, DescribeTopics, CloseLane, Unsubscribe)):
            raise BrokerNotAvailableError("the cluster is shutting down")

    def _trace(self, request: TraceTopics) -> None:
        if not 0 < request.lease_ms <= TRACE_LEASE_MS_MAX:
            raise InvalidRequestError(
                f"records are traced for up to {TRACE_LEASE_MS_MAX} ms at a time, not {request.lease_ms}: ask again"
                " before the time is over"
            )
        if not TRACE_INTERVAL_US_MIN <= request.interval_us <= TRACE_INTERVAL_US_MAX:
            raise InvalidRequestError(
                f"samples of one partition are {TRACE_INTERVAL_US_MIN} to {TRACE_INTERVAL_US_MAX} us apart, not"
                f" {request.interval_us}"
            )
        until_ns = monotonic_ns() + request.lease_ms * 1_000_000
        for partition_id in self._topics.partition_ids(request.topics):
            owner = self._owners.running(partition_id)
            if owner is not None:  # a later one is told the next time
                self._owners.send(owner, Trace(until_ns, request.interval_us * 1000))

    def _describe_cluster(self, request_id: int) -> ClusterDescribed:
        identity = self._identity
        return ClusterDescribed(
            request_id=request_id,
            version=VERSION,
            cluster_id=identity.cluster_id,
            cluster_name=identity.name,
            pid=os.getpid(),
            zygote_pid=self._owners.zygote.pid,
            started_ms=identity.started_ms,
            data_dir=identity.data_dir,
            runtime_dir=identity.runtime.directory,
            shm_budget_bytes=self._regions.budget.limit_bytes,
            shm_used_bytes=self._regions.used_bytes(),
            clients=[
                ClientDescription(client.client_id, client.pid, len(client.lanes), client.region)
                for client in self._clients.all()
            ],
            restarts=self._owners.machine.restarts(),
            damage=self._damage.describe(),
            directories=describe_directories(identity, self._catalog, self._reserve.refusal),
        )
