"""Ways to break followers."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

FOLLOWING = "shmlog/partition/following.py"
REPLICA_LOG = "shmlog/partition/replica_log.py"

FOLLOWER_MUTATIONS = [
    Mutation(
        "a follower shows what it has not written yet",
        FOLLOWING,
        "        try:\n            code = errno_of_full_disk(take)\n",
        "        try:\n"
        "            assert self.leader._attachment is not None\n"
        "            self._region.store_written(self.leader._attachment.page.written_offset)\n"
        "            code = errno_of_full_disk(take)\n",
        "follower: append",
    ),
    Mutation(
        "a follower shows a leader's epoch before it has cut what that leader does not have",
        FOLLOWING,
        "        start_offset, end_offset = page.log_start_offset, page.log_end_offset\n",
        "        start_offset, end_offset = page.log_start_offset, page.log_end_offset\n"
        "        self._region.follow(epoch, self.copy.end_offset, 0)\n",
        "follower: cut",
    ),
    Mutation(
        "a follower does not look for what its leader lost",
        REPLICA_LOG,
        "        elif agreed < before or self._is_begun_too_far(leader):\n",
        "        elif self._is_begun_too_far(leader):\n",
        "follower: cut",
    ),
]
