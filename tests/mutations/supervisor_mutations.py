"""Ways to break the supervisor."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SUPERVISOR_MUTATIONS = [
    Mutation(
        "a start does not give the logs of an imported topic their names",
        "shmlog/supervisor/topics.py",
        "            self._arrivals.settle(directory_id)  # before",
        "            # before",
        "cluster: a topic is imported",
    ),
    Mutation(
        "owners of an imported topic start before its logs have their names",
        "shmlog/supervisor/topics.py",
        "            self._arrivals.put_in_place(topic)\n",
        "            self._start(topic, step, answer)\n            self._arrivals.put_in_place(topic)\n",
        "cluster: a topic is imported",
    ),
    Mutation(
        "what is left of an import that was not finished stays",
        "shmlog/supervisor/arrivals.py",
        "                    self._trash.throw_away(os.path.join(path, name), topic_id)\n",
        "",
        "cluster: a start finds logs of an import that was not finished",
    ),
    Mutation(
        "a metadata log that is gone does not come back from its copies",
        "shmlog/supervisor/metadata_restoring.py",
        "    if longest.end_offset == ours.end_offset:\n",
        "    if longest.end_offset >= ours.end_offset:\n",
        "cluster: the metadata log comes back from a copy",
    ),
    Mutation(
        "a topic counts as deleted before its directories are gone",
        "shmlog/supervisor/topics.py",
        "        for partition_id in topic.partition_ids:\n"
        "            partition = self._catalog.machine.partition_by_id(partition_id)\n"
        "            assert partition is not None\n            self._regions.drop",
        "        gone = [self._catalog.machine.partition_by_id(partition_id) for partition_id in topic.partition_ids]\n"
        "        self._catalog.commit(self._catalog.machine.finish_deletion(topic_id).records)\n"
        "        for partition_id, partition in zip(topic.partition_ids, gone, strict=True):\n"
        "            assert partition is not None\n            self._regions.drop",
        "cluster: a topic is deleted and made again",
    ),
    Mutation(
        "what lies in the trash after a crash stays",
        "shmlog/supervisor/trash.py",
        "            for entry in os.listdir(log_dir):\n",
        "            for entry in list[str]():\n",
        "cluster: a topic is deleted and made again",
    ),
    Mutation(
        "what lies in the trash of a further disk stays",
        "shmlog/supervisor/trash.py",
        "        for log_dir in log_dirs:\n",
        "        for log_dir in list(log_dirs)[:2]:\n",
        "cluster: topics on two disks",
    ),
    Mutation(
        "a log that was abandoned is noted as erased before it is",
        "shmlog/supervisor/topics.py",
        "                if read_topic_id(OsStorage(), directory) == one.topic_id:\n"
        "                    self._trash.throw_away(directory, one.topic_id)\n"
        "                gone.append(one)\n",
        "                self._catalog.commit(self._catalog.machine.erased([one]).records)\n"
        "                if read_topic_id(OsStorage(), directory) == one.topic_id:\n"
        "                    self._trash.throw_away(directory, one.topic_id)\n",
        "cluster: a disk comes back with a topic that was deleted",
    ),
    Mutation(
        "meta.properties has its name before its content",
        "shmlog/supervisor/meta_properties.py",
        '    with open(path + ".tmp", "w", encoding="utf-8") as file:\n',
        '    with open(path, "w"), open(path + ".tmp", "w", encoding="utf-8") as file:\n',
        "cluster: first start with two disks",
    ),
    Mutation(
        "ids are handed out before their block is in the log",
        "shmlog/supervisor/metadata.py",
        "            self.commit(step.records)\n            self._ids[kind] = block\n",
        "            self._ids[kind] = block\n            assert step.records\n",
        "cluster: restart",
    ),
    Mutation(
        "the region of a client that is gone goes before its life file",
        "shmlog/supervisor/clients.py",
        "            with contextlib.suppress(OSError):  # first",
        "            self._regions.unlink(client.region)\n            with contextlib.suppress(OSError):  # first",
        "sessions: clients leave and die",
    ),
    Mutation(
        "a client that is gone keeps its life file",
        "shmlog/supervisor/clients.py",
        "                os.unlink(self._identity.runtime.life(client.client_id))\n",
        "                pass\n",
        "sessions: clients leave and die",
    ),
    Mutation(
        "the lanes of who is dead stay after a restart",
        "shmlog/supervisor/lanes.py",
        "        if client is None or client.gone:\n",
        "        if client is not None and client.gone:\n",
        "sessions: a supervisor finds clients",
    ),
    Mutation(
        "a lane that its owner reports is not adopted",
        "shmlog/supervisor/lanes.py",
        "            if held.lane_id not in self._lanes:\n",
        "            if held.lane_id in self._lanes:\n",
        "sessions: a supervisor finds clients",
    ),
    Mutation(
        "the socket of a killed supervisor stays",
        "shmlog/supervisor/sessions.py",
        "            os.unlink(path)  # we hold the lock",
        "            pass  # we hold the lock",
        "sessions: a client is let in",
    ),
]
