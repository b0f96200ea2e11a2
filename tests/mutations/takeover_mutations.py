"""Ways to break the takeover by another replica."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TAKEOVER = "shmlog/partition/takeover.py"
ALIGNMENT = "shmlog/partition/lane_alignment.py"
LAGS = "another replica takes over, with a copy that lags"
HANDED_OVER = "another replica takes over what was handed over"
SPOILED = "another replica takes over, from a ring that is spoiled"
EMPTY = "another replica takes over, from an empty ring behind its copy"
BEHIND = "another replica takes over, from a ring that begins behind its copy"

TAKEOVER_MUTATIONS = [
    Mutation(
        "a takeover does not say that positions are nobody's",
        TAKEOVER,
        "    page.store(layout.CTL_LEADER_REPLICA, layout.NO_REPLICA)\n",
        "",
        SPOILED,
    ),
    Mutation(
        "a takeover does not store where the copy's segment begins",
        TAKEOVER,
        "        page.store(layout.CTL_SEGMENT_TURN, turn + 1)  # SYNC POINT segment-turn: as in LogKeeper.roll\n",
        "",
        BEHIND,
    ),
    Mutation(
        "a takeover leaves no image of the producers",
        TAKEOVER,
        "    publisher.store_image()\n",
        "",
        BEHIND,
    ),
    Mutation(
        "a takeover leaves the dead leader's image of the producers",
        TAKEOVER,
        "        page.store(layout.CTL_IMAGES + image * layout.CTL_IMAGE_BYTES, 0)\n",
        "        pass\n",
        BEHIND,
    ),
    Mutation(
        "a takeover leaves the region of the follower that was",
        TAKEOVER,
        "    region.unlink(name)  # before this log grows: it would not be true any more\n",
        "",
        HANDED_OVER,
    ),
    Mutation(
        "a takeover does not store where its ring begins",
        TAKEOVER,
        "        page.store(layout.CTL_BASE_OFFSET, NOWHERE)\n        page.store(layout.CTL_BASE_POS, tail_pos)\n"
        "    page.store(layout.CTL_BASE_OFFSET, end_offset)\n",
        "        pass\n",
        BEHIND,
    ),
    Mutation(
        "a takeover makes the base of an empty ring invalid",
        TAKEOVER,
        "    if page.load(layout.CTL_BASE_POS) != tail_pos:",
        "    if True:",
        EMPTY,
    ),
    Mutation(
        "a takeover leaves rings that never came into force",
        TAKEOVER,
        "    drop_rings(spec, keep=generation)  # one that never came into force,",
        "    # one that never came into force,",
        BEHIND,
    ),
    Mutation(
        "a takeover lowers the intent",
        TAKEOVER,
        "    page.store(layout.CTL_BASE_OFFSET, end_offset)\n",
        "    page.store(layout.CTL_BASE_OFFSET, end_offset)\n    page.store(layout.CTL_INTENT_POS, tail_pos)\n",
        SPOILED,
    ),
    Mutation(
        "a lane's results are not taken back",
        ALIGNMENT,
        "    if published[lost:]:\n        mapping.store(layout.LANE_HEAD, published[lost].pos)\n",
        "",
        SPOILED,
    ),
    Mutation(
        "a lane does not go back again after a takeover that was killed",
        ALIGNMENT,
        "        if status == layout.FRAME_STATUS_PENDING:\n            return True\n",
        "",
        SPOILED,
    ),
    Mutation(
        "a lane does not go forward over what the log has",
        ALIGNMENT,
        "    if pos != begun:\n",
        "    if pos != begun and False:\n",
        SPOILED,
    ),
]
