"""Ways to break how compacted segments take their places."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

COMPACTION_MUTATIONS = [
    Mutation(
        "an opening does not finish putting compacted segments in their places",
        "shmlog/log/opening.py",
        "    swapped = finish_swap(storage, directory)\n",
        '    swapped = ""\n',
        "compacted segments take their places",
    ),
    Mutation(
        "how far holes are legal is noted after compacted segments have taken their places",
        "shmlog/log/swap.py",
        "    if dense_from_offset > before.dense_from_offset:\n",
        "    if dense_from_offset < before.dense_from_offset:\n",
        "compacted segments take their places",
    ),
]
