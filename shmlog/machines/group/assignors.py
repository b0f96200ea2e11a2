"""The assignors that a group can choose, by Kafka's names for them."""

from __future__ import annotations

from collections.abc import Mapping

from shmlog.machines.group.assignor import Assignor
from shmlog.machines.group.range_assignor import assign_ranges
from shmlog.machines.group.roundrobin_assignor import assign_in_turn
from shmlog.machines.group.sticky_assignor import assign_sticky

NAMES: Mapping[str, Assignor] = {
    "range": assign_ranges,
    "roundrobin": assign_in_turn,
    "sticky": assign_sticky,
    "cooperative-sticky": assign_sticky,
    "uniform": assign_sticky,
}
