"""Every bound in one place: queues, retries, tables and sleeps."""

from __future__ import annotations

PAGE_BYTES = 4096

# names
TOPIC_NAME_CHARACTERS_MAX = 249
GROUP_NAME_CHARACTERS_MAX = 255
CLUSTER_NAME_CHARACTERS_MAX = 40  # the control socket's path has 108 bytes
PARTITIONS_PER_TOPIC_MAX = 10_000
REPLICAS_PER_PARTITION_MAX = 16
LOG_DIRECTORIES_MAX = 64
LOG_NAME_BYTES_MAX = 255  # of a directory, as file systems have it

# shared memory
RING_BYTES_MIN = 512 * 1024
RING_IDLE_S = 60.0  # a ring that grew goes back to its first size after so long without a batch
RING_BATCHES_MIN = 4  # a ring holds at least this many of the largest batches
LANE_BATCHES_MIN = 2  # a lane holds at least this many of the largest batches
LANE_BYTES_MIN = 256 * 1024  # a lane that has grown
LANE_BYTES_FIRST = 64 * 1024  # a lane begins with this, unless lane.bytes says more
LANE_GROWTH_PAUSE_S = 30.0  # a producer that was refused a larger lane asks for none so long, if it can do without
LANE_BYTES_MAX = (1 << 27) - PAGE_BYTES  # the word of a lane tells positions apart over less than 128 MiB
LANES_PER_PARTITION_MAX = 1024
PRODUCERS_REMEMBERED_MAX = LANES_PER_PARTITION_MAX  # by one partition: whoever has a lane, and who wrote last
CLIENT_SLOTS_MAX = 1024
SHM_BUDGET_SHARE = 0.9  # of what is free in /dev/shm when the cluster starts

# segments
INDEX_BYTES_MAX = 10 * 1024 * 1024  # Kafka's segment.index.bytes: bounds each index of a segment, as others roll it
RELATIVE_MAX = (1 << 31) - 1  # indexes count offsets and positions from the base of their segment, in 31 bits

# batches
BATCH_HEADER_BYTES = 61
FRAME_RECORDS_MAX = (1 << 18) - 1
OPEN_BATCH_BYTES_MAX = (1 << 20) - 64
TIMESTAMP_MS_MAX = 253_402_300_799_999  # the end of the year 9999: microseconds of today lie beyond
MAX_MESSAGE_BYTES_DEFAULT = 1_048_588
MAX_MESSAGE_BYTES_MAX = 32 * 1024 * 1024  # two frames of it stay below the 256 MiB that a lane word can tell apart
READ_CHUNK_BYTES = 256 * 1024

# sleeps
IDLE_SLEEP_S = 5.0  # an idle owner looks for records and orders at least this often
REST_S = 20.0  # one without lanes that has given its memory back looks after everything else this often
METADATA_MAX_AGE_MS = 300_000  # producers notice added partitions after this at the latest
CLOCK_STEP_MS = 1000  # a wall clock that goes back by less is not taken for one that was put back
CLIENT_SLEEP_S = 1.0  # a waiting client looks around at least this often
LOOP_TURN_S = 0.001  # a task that always finds records lets the other tasks of its event loop run this often
LANE_IDLE_CLOSE_S = 30.0  # a lane that brought nothing for so long is closed; its producer opens another when it sends
TRACE_LEASE_MS_MAX = 10_000  # whoever traces asks again before this is over; after it nothing is traced any more
TRACE_INTERVAL_US_MIN = 100  # between two samples of a partition
TRACE_INTERVAL_US_MAX = 60_000_000
ZYGOTE_IMPORT_S = 30.0  # a zygote that is just starting may be silent this long, whatever owner.unresponsive.ms says
STARTING_SILENCE_S = 2.0  # and an owner that is starting this long
COPY_PATIENCE_S = 0.2  # a decision waits so long for a copy of the metadata log that keeps up
COPY_RETRY_S = 5.0  # before a copy that failed is tried again
COPIES_CLOSE_S = 2.0  # what a closing supervisor gives them
STARTING_SUPERVISOR_S = 60.0  # and a supervisor that is taking over, before its standbys think it stuck
RETURN_S = 3.0  # a worker that outlived its supervisor has so long to come back to the next one
RETURN_RING_S = 0.25  # and is rung so often meanwhile
RETURN_PAUSE_S = 0.02  # between two attempts of its own
STANDBYS_MAX = 16
STANDBY_LOOK_S = 1.0  # a standby that the kernel cannot tell of the supervisor's death looks so often
STANDBY_PAUSE_S = 1.0  # before one that died is replaced; doubled with every other one
STANDBY_EXIT_S = 5.0  # what a killed one may take
CLEANER_EXIT_S = 5.0  # what a killed cleaner may take
ZYGOTE_EXIT_S = 5.0  # a zygote that was told to end is killed after this
RESTART_BACKOFF_FIRST_MS = 0
RESTART_BACKOFF_SECOND_MS = 100
RESTART_BACKOFF_MAX_MS = 10_000
HOLD_LEASE_S = 10.0  # an order to take no records is forgotten after this if it is not repeated
TRASH_ROOM_BYTES = 1 << 30  # deleted topics wait for file.delete.delay.ms on disks that have this much free: a segment
TRASH_LOOK_S = 2.0
ORPHAN_GRACE_S = 30.0  # workers outlive a dead supervisor this long

# control channel
CONTROL_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
CONTROL_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0  # a client waits this long for a supervisor that is starting or being replaced
CONNECT_PAUSE_FIRST_S = 0.005  # between two attempts to connect; twice as long each time, up to this:
CONNECT_PAUSE_S = 0.05
COORDINATOR_PAUSE_FIRST_S = 0.004  # between two attempts to reach the coordinator of a group; doubled up to this:
COORDINATOR_PAUSE_S = 0.25
MEMBER_LOOK_S = 0.0005  # a member that polls without a pause listens to its coordinator this often
LEAVE_S = 5.0  # a member that closes waits this long for a coordinator to say goodbye to
METADATA_REFRESH_S = 5.0  # consumers ask at most this often whether their topics have changed
LOCATION_ANSWER_S = 0.2  # a cold read waits this long to be told where a new leader's files are; then it pauses
CONTROL_REQUEST_BYTES_MAX = 1024 * 1024  # what a client may ask in one message; answers may be longer
HELLO_BYTES_MAX = 4096  # and before it is known
STRANGERS_MAX = 128  # connections that have not said Hello yet; of more, the oldest is hung up on
PRODUCER_ID_BLOCK = 1000
PRODUCER_EPOCH_MAX = 32_766  # Kafka never hands out 32767: a producer that has used up its epochs gets a new id
