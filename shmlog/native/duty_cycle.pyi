"""The owner's duty cycle while it is let alone: sleep, publish what came, sleep again, with no Python in between."""

from shmlog.native.doorbell import Doorbell
from shmlog.native.publish import Publisher

def rest(
    publisher: Publisher,
    bell: Doorbell,
    *,
    channel_fd: int,
    until_ns: int,
    turn_ns: int,
    look_ns: int,
    budget_ns: int,
) -> bool:
    """Sleep on `bell`, and publish what wakes us, until the agent must look around; False: only time has passed.

    That is: when nothing came until `until_ns`; at `turn_ns` (housekeeping) if anything was published, and when that
    was more than the ring holds; when `channel_fd` is readable; when a ring brought no records, or run() has an outcome
    that needs the agent, which it will say again. Without any of that it looks for records and orders, and beats its
    heart, every `look_ns`. Signal handlers run. `budget_ns` is run()'s. Times are monotonic, `look_ns` is a duration.
    """
