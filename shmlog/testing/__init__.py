"""For tests of programs that use shmlog, and for ours: waiting, histories and their checker, independent decoding."""

from shmlog.testing.checker import Verdict, check_history
from shmlog.testing.history import History
from shmlog.testing.waiting import await_until, wait_until

__all__ = ["History", "Verdict", "await_until", "check_history", "wait_until"]
