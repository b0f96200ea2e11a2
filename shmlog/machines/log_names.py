"""What the directories of partitions are called in a log directory, and so what topics may be called.

`<topic>-<partition>`, as Kafka does, for the first replica of a partition that a log directory gets, and
`<topic>-<partition>.r<replica id>` for a further one beside it. No topic can be called so that the two meet: what
follows the last dash of a partition's directory is digits, or it is that of a further replica. What is imported into a
running cluster is `<topic id>-<partition>.import` until its topic is known, which is neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shmlog.errors import InvalidTopicError
from shmlog.limits import LOG_NAME_BYTES_MAX, TOPIC_NAME_CHARACTERS_MAX

METADATA_TOPIC = "__cluster_metadata"
_NAME = re.compile(r"[a-zA-Z0-9._-]+")
_TOPIC_ID = r"[a-zA-Z0-9_-]{22}"
_IMPORT = re.compile(rf"({_TOPIC_ID})-(\d{{1,5}})\.import")


def log_name(topic: str, partition: int) -> str:
    """That of a partition's first replica in a log directory."""
    return f"{topic}-{partition}"


def further_log_name(plain: str, replica_id: int) -> str:
    """That of a replica beside another one of its partition, whose log_name is `plain`."""
    return f"{plain}.r{replica_id}"


def import_name(topic_id: str, partition: int) -> str:
    """That of a partition which is being imported, until its topic is known. Raises InvalidTopicError for no id."""
    if not re.fullmatch(_TOPIC_ID, topic_id):
        raise InvalidTopicError(
            f"{topic_id[:60]!r} is not the id of a topic, which has 22 characters of a-z A-Z 0-9 _ -"
        )
    return f"{topic_id}-{partition}.import"


def parse_import_name(name: str) -> tuple[str, int] | None:
    """Topic id and partition of a directory that import_name() named; None for others."""
    found = _IMPORT.fullmatch(name)
    return None if found is None else (found[1], int(found[2]))


def assign_log_names(
    plain: str, replicas: Mapping[int, str], before: Mapping[int, str], names: Mapping[int, str]
) -> dict[int, str]:
    """Names by replica id. A replica keeps its name for as long as it lives, whoever comes and goes beside it.

    `plain` is the partition's log_name; `replicas` has the directory id of each replica now, `before` and `names` what
    the replicas before had.
    """
    kept = {one: names[one] for one, directory_id in replicas.items() if before.get(one) == directory_id}
    taken = {replicas[one] for one, name in kept.items() if name == plain}
    assigned: dict[int, str] = {}
    for one, directory_id in replicas.items():
        fresh = further_log_name(plain, one) if directory_id in taken else plain
        assigned[one] = kept.get(one, fresh)
        taken.add(directory_id)
    return assigned


def check_topic_name(name: str) -> None:
    """Raise InvalidTopicError for a name that Kafka would refuse, or that the metadata log's directory has."""
    problem: str | None = None
    if not name:
        problem = "it is empty"
    elif len(name) > TOPIC_NAME_CHARACTERS_MAX:
        problem = f"it has {len(name)} characters, the limit is {TOPIC_NAME_CHARACTERS_MAX}"
    elif name in (".", ".."):
        problem = "it would be a directory of its own"
    elif not _NAME.fullmatch(name):
        problem = "allowed are a-z A-Z 0-9 . _ -"
    elif name == METADATA_TOPIC:
        problem = "the cluster keeps its own records under it"
    if problem is not None:
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise InvalidTopicError(f"{shown!r} cannot be the name of a topic: {problem}")


def check_further_name(topic: str, partition: int, replica_id: int) -> None:
    """Raise InvalidTopicError for a topic whose name is too long for two replicas in one log directory."""
    excess = len(further_log_name(log_name(topic, partition), replica_id)) - LOG_NAME_BYTES_MAX
    if excess > 0:
        raise InvalidTopicError(
            f"topic '{topic[:57]}...' needs a name that is {excess} characters shorter: two replicas of a partition"
            f" share a log directory, and names of files have at most {LOG_NAME_BYTES_MAX} bytes; or add directories"
            " to log.dirs"
        )
