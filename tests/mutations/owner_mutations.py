"""Ways to break owners, producers and what they share."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

PUBLISH = "shmlog/native/publish.pyx"
LOG_END = "shmlog/native/log_end.pyx"
OPENING = "shmlog/partition/opening.py"

OWNER_MUTATIONS = [
    Mutation(
        "the tail is stored before the index entries",
        PUBLISH,
        "        cdef unsigned char *cell\n        for k in range(self.pending_count):\n"
        "            entry = &self.pending[k]\n"
        "            if entry.status != FRAME_STATUS_APPENDED:\n",
        "        cdef unsigned char *cell\n        shm_store_release(self.ctl + CTL_TAIL_POS, new_tail)\n"
        "        for k in range(self.pending_count):\n            entry = &self.pending[k]\n"
        "            if entry.status != FRAME_STATUS_APPENDED:\n",
        "publish: several lanes",
    ),
    Mutation(
        "the heads of the lanes are stored before the results",
        PUBLISH,
        "            shm_store_relaxed(entry.frame + FRAME_BASE_OFFSET, <uint64_t>entry.base_offset)\n",
        "            shm_store_release(entry.lane.base + LANE_HEAD, entry.lane_pos_end)\n"
        "            shm_store_relaxed(entry.frame + FRAME_BASE_OFFSET, <uint64_t>entry.base_offset)\n",
        "publish: several lanes",
    ),
    Mutation(
        "the heads of the lanes are stored before the tail",
        PUBLISH,
        "        if new_tail != self.tail_pos:\n            shm_store_relaxed(self.ctl + CTL_TAIL_OFFSET",
        "        for k in range(self.pending_count):\n"
        "            shm_store_release(self.pending[k].lane.base + LANE_HEAD, self.pending[k].lane_pos_end)\n"
        "        if new_tail != self.tail_pos:\n            shm_store_relaxed(self.ctl + CTL_TAIL_OFFSET",
        "publish: several lanes",
    ),
    Mutation(
        "written is stored before the write",
        LOG_END,
        '        """pwrite [written, tail): the ring\'s own bytes, contiguous through the double mapping."""\n',
        "        shm_store_release(self.ctl + CTL_WRITTEN_POS, self.tail_pos)\n",
        "append with indexes",
    ),
    Mutation(
        "the high watermark is stored before the write",
        LOG_END,
        '        """pwrite [written, tail): the ring\'s own bytes, contiguous through the double mapping."""\n',
        "        self._advance_watermark(self.tail_offset, self.tail_pos)\n",
        "append with indexes",
    ),
    Mutation(
        "the high watermark and written are stored before the write",
        LOG_END,
        '        """pwrite [written, tail): the ring\'s own bytes, contiguous through the double mapping."""\n',
        "        shm_store_relaxed(self.ctl + CTL_WRITTEN_OFFSET, <uint64_t>self.tail_offset)\n"
        "        shm_store_release(self.ctl + CTL_WRITTEN_POS, self.tail_pos)\n"
        "        self._advance_watermark(self.tail_offset, self.tail_pos)\n",
        "append with indexes",
    ),
    Mutation(
        "the offset of the high watermark, but not its position, is stored before the write",
        LOG_END,
        '        """pwrite [written, tail): the ring\'s own bytes, contiguous through the double mapping."""\n',
        "        shm_store_relaxed(self.ctl + CTL_HW_OFFSET, <uint64_t>self.tail_offset)\n",
        "append with indexes",
    ),
    Mutation(
        "a batch that is sent again is appended again",
        PUBLISH,
        "            if verdict == PRODUCER_DUPLICATE:\n                entry.status = FRAME_STATUS_DUPLICATE\n"
        "            elif verdict != PRODUCER_NEW:\n",
        "            if verdict != PRODUCER_DUPLICATE and verdict != PRODUCER_NEW:\n",
        "duplicates",
    ),
    Mutation(
        "the high watermark is stored before written",
        LOG_END,
        "        shm_store_relaxed(self.ctl + CTL_WRITTEN_OFFSET, <uint64_t>self.written_offset)\n",
        "        self._advance_watermark(self.written_offset, self.written_pos)\n"
        "        shm_store_relaxed(self.ctl + CTL_WRITTEN_OFFSET, <uint64_t>self.written_offset)\n",
        "append with indexes",
    ),
    Mutation(
        "the high watermark does not wait for the sync",
        LOG_END,
        "        elif not self.hold_for_sync:\n            self._advance_watermark",
        "        elif True:\n            self._advance_watermark",
        "group commit of every record",
    ),
    Mutation(
        "the intent is lowered before a group is published",
        PUBLISH,
        "            shm_store_relaxed(self.ctl + CTL_TAIL_OFFSET, <uint64_t>new_offset)\n",
        "            shm_store_relaxed(self.ctl + CTL_INTENT_POS, self.tail_pos)\n"
        "            shm_store_relaxed(self.ctl + CTL_TAIL_OFFSET, <uint64_t>new_offset)\n",
        "publish: several lanes",
    ),
    Mutation(
        "the indexes are written before the log",
        "shmlog/native/segment.pyx",
        "        failure = write_at(self.log_fd, p, n, self.size_bytes) if write_log else 0\n        if failure == 0:\n"
        "            failure = write_at(self.index_fd, self.index_scratch,"
        " index_entries * OFFSET_INDEX_ENTRY_BYTES, self.index_bytes)\n",
        "        failure = write_at(self.index_fd, self.index_scratch,"
        " index_entries * OFFSET_INDEX_ENTRY_BYTES, self.index_bytes)\n        if failure == 0 and write_log:\n"
        "            failure = write_at(self.log_fd, p, n, self.size_bytes)\n",
        "append with indexes",
    ),
    Mutation(
        "an image of the producers counts before it is whole",
        "shmlog/native/producer_table.pyx",
        "        shm_store_relaxed(image, 0)\n        shm_fence_release()\n",
        "        shm_store_relaxed(image, self.image_turn + 1)\n        shm_store_relaxed(image + IMAGE_POS, pos)\n",
        "ring wraps",
    ),
    Mutation(
        "a slot of the lane table counts before the terms of its lane are in it",
        "shmlog/partition/lane_desk.py",
        "        self._control.store_terms(slot, terms)\n"
        "        self._attach(mapping, LaneSlot(slot, lane_id, terms))\n",
        "        self._attach(mapping, LaneSlot(slot, lane_id, terms))\n"
        "        self._control.store_terms(slot, terms)\n",
        "lane opens and closes",
    ),
    Mutation(
        "a new frame is announced before its record is in it",
        "shmlog/native/lane.pyx",
        "        self._begin(frame, record.timestamp_ms)\n"
        "        at = put_record(frame + FRAME_BYTES, body, 0, 0, record.key,"
        " record.key_length, record.value, record.value_length,\n                        record.header_count)\n"
        "        if record.header_bytes:\n            shm_copy_in(at, record.headers, record.header_bytes)\n"
        "        return self._open(<uint32_t>(FRAME_BYTES + need), 1)\n",
        "        self._begin(frame, record.timestamp_ms)\n"
        "        shm_store_release(self.base + LANE_OPEN, open_word(self.start, 0, FRAME_BYTES + need, 1))\n"
        "        at = put_record(frame + FRAME_BYTES, body, 0, 0, record.key,"
        " record.key_length, record.value, record.value_length,\n                        record.header_count)\n"
        "        if record.header_bytes:\n            shm_copy_in(at, record.headers, record.header_bytes)\n"
        "        return self._open(<uint32_t>(FRAME_BYTES + need), 1)\n",
        "accept",
    ),
    Mutation(
        "a run of an even number of records stores its largest timestamp where the old count looks",
        "shmlog/native/run.h",
        "    if (index && taken && !(taken & 1) && largest > max_timestamp) {\n",
        "    if (0) {\n",
        "accept: runs of records",
    ),
    Mutation(
        "a successor leaves the entries of a group that never was",
        OPENING,
        "        index.store(cell * layout.IDX_ENTRY_BYTES + layout.IDX_SEQ, 0)\n",
        "        assert cell >= 0\n",
        "publish: a larger group after one that never was",
    ),
    Mutation(
        "a successor takes the next offset from the tail's cell",
        OPENING,
        "    page.store(layout.CTL_TAIL_OFFSET, end.next_offset)",
        "    object.__setattr__(end, 'next_offset', page.load(layout.CTL_TAIL_OFFSET))",
        "publish: several lanes",
    ),
    Mutation(
        "a successor lowers the intent to the tail",
        OPENING,
        "    page.store(layout.CTL_STATE, OwnerState.RECOVERING)\n",
        "    page.store(layout.CTL_STATE, OwnerState.RECOVERING)\n"
        "    page.store(layout.CTL_INTENT_POS, page.load(layout.CTL_TAIL_POS))\n",
        "publish: several lanes",
    ),
    Mutation(
        "a successor takes what is published for written",
        OPENING,
        "    tail_pos, written_pos = page.load(layout.CTL_TAIL_POS), page.load(layout.CTL_WRITTEN_POS)\n",
        "    tail_pos, written_pos = page.load(layout.CTL_TAIL_POS), page.load(layout.CTL_WRITTEN_POS)\n"
        "    page.store(layout.CTL_WRITTEN_POS, tail_pos)\n",
        "publish: several lanes",
    ),
    Mutation(
        "a successor does not answer what was published",
        "shmlog/partition/lane_desk.py",
        "            if end is not None:\n",
        "            if end is None:\n",
        "hand-off of the open batch",
    ),
    Mutation(
        "a successor moves a lane's head and answers nothing",
        "shmlog/partition/lane_desk.py",
        "    for result in results:\n",
        "    for result in results[:0]:\n",
        "hand-off of the open batch",
    ),
    Mutation(
        "a successor moves a lane's head before it answers",
        "shmlog/partition/lane_desk.py",
        "    for result in results:\n",
        "    mapping.store(layout.LANE_HEAD, published_to)\n    for result in results:\n",
        "publish: several lanes",
    ),
    Mutation(
        "a successor answers only the first of several duplicates",
        "shmlog/partition/survey.py",
        "            pos += span\n",
        "            pos = start\n",
        "duplicates in front of a new batch",
    ),
    Mutation(
        "a successor does not know where duplicates are",
        "shmlog/partition/lane_desk.py",
        "            base_offset = producers.find(",
        "            base_offset = 0 * producers.find(",
        "duplicates in front of a new batch",
    ),
    Mutation(
        "a successor forgets the producers of the ring",
        OPENING,
        "    producers.replay(publisher.ring_bytes_between(image_pos, tail_pos))\n",
        "",
        "publish: several lanes",
    ),
    Mutation(
        "a successor's epoch begins where the files end",
        OPENING,
        "        log.assign_epoch(spec.leader_epoch, end.next_offset)\n",
        "        log.assign_epoch(spec.leader_epoch)\n",
        "publish: several lanes",
    ),
    Mutation(
        "a successor leaves rings that are not in force",
        OPENING,
        "    drop_rings(spec, keep=control.generation)\n    page.store(layout.CTL_TAIL_OFFSET",
        "    page.store(layout.CTL_TAIL_OFFSET",
        "ring grows",
    ),
    Mutation(
        "a successor leaves the sizes of a ring that is not in force",
        OPENING,
        "    store_ring(page, ring, index, control.generation)  # sizes",
        "    # sizes",
        "ring grows",
    ),
    Mutation(
        "a watermark that was not stored after its sync stays where it is",
        LOG_END,
        "        elif not self.hold_for_sync or self.unsynced_records == 0:\n",
        "        elif not self.hold_for_sync:\n",
        "group commit of every record",
    ),
    Mutation(
        "a successor's clients are not rung",
        "shmlog/native/lane_table.pyx",
        "        self._wake()  # it may have slept",
        "        # it may have slept",
        "publish: several lanes",
    ),
    Mutation(
        "the base of an empty ring is invalid while it is replaced",
        "shmlog/partition/regeneration.py",
        "    if base != (page.load(layout.CTL_BASE_OFFSET), page.load(layout.CTL_BASE_POS)):\n",
        "    if base:\n",
        "empty ring grows",
    ),
    Mutation(
        "a ring's generation is stored before its base",
        "shmlog/partition/regeneration.py",
        "    base = publisher.tail_offset, publisher.tail_pos\n",
        "    base = publisher.tail_offset, publisher.tail_pos\n"
        "    page.store(layout.CTL_RING_GENERATION, generation)\n",
        "ring grows",
    ),
    Mutation(
        "a roll counts before its slot is filled",
        "shmlog/partition/log_keeper.py",
        "        self._page.store(slot, writer.base_offset)\n",
        "        self._page.store(layout.CTL_SEGMENT_TURN, turn)\n        self._page.store(slot, writer.base_offset)\n",
        "roll",
    ),
    Mutation(
        "a bell that is half made stays",
        "shmlog/memory/bell.py",
        "    except CorruptRecordError:\n        region.unlink(names.bell(tag, partition_id))\n",
        "    except CorruptRecordError:\n        raise\n",
        "first start",
    ),
    Mutation(
        "a region says what it is before the rest of its header",
        "shmlog/memory/layout.py",
        "        mapping.write(8, body[8:] + _HEADER_CRC.pack(zlib.crc32(body)))\n",
        "        mapping.store(0, int.from_bytes(self.kind, 'little'))\n"
        "        mapping.store(CTL_RING_GENERATION, 1)\n"
        "        mapping.write(8, body[8:] + _HEADER_CRC.pack(zlib.crc32(body)))\n",
        "first start",
    ),
    Mutation(
        "a successor leaves what an unfinished roll wrote into the time index",
        "shmlog/log/recovery.py",
        "        segment = cut_time_index(storage, directory, segment, index_interval_bytes)\n",
        "        pass\n",
        "roll by age, in front of the first index entry",
    ),
    Mutation(
        "temporary files of a killed owner stay",
        "shmlog/log/listing.py",
        '_LEFTOVERS = (CLEANED_SUFFIX, SWAPPED_SUFFIX, DELETED_SUFFIX, REBUILD_SUFFIX, REWRITE_SUFFIX, ".tmp")\n',
        "_LEFTOVERS = (CLEANED_SUFFIX, SWAPPED_SUFFIX, DELETED_SUFFIX, REBUILD_SUFFIX, REWRITE_SUFFIX)\n",
        "roll",
    ),
    Mutation(
        "a checkpoint is written in place",
        "shmlog/log/storage.py",
        'fsync of the directory.\n    """\n    temporary = path + ".tmp"\n',
        'fsync of the directory.\n    """\n    temporary = path\n',
        "first start",
    ),
    Mutation(
        "a lane's slot does not say whose it is",
        "shmlog/memory/control_page.py",
        "_TERMS.pack(*astuple(terms))",
        "_TERMS.pack(0, *astuple(terms)[1:])",
        "sessions: a lane is made",
    ),
    Mutation(
        "a compressed batch is taken for as long in its lane as in the ring",
        "shmlog/partition/survey.py",
        "        start = entry.lane_pos\n",
        "        start = entry.lane_pos_end - (entry.length + 10 & ~7)\n",
        "compress: several lanes",
    ),
    Mutation(
        "the high watermark does not wait for followers",
        LOG_END,
        "                limit = min(limit, follower_progress(&self.followers[k], self.hold_for_sync))\n",
        "                pass\n",
        "publish: followers, one quick and one slow",
    ),
    Mutation(
        "a successor shows what is written, whatever its followers have",
        LOG_END,
        'where that waits for a sync, what a dead owner had synced."""\n        if self.goes_by_index:\n',
        'where that waits for a sync, what a dead owner had synced."""\n        if False:\n',
        "takeover with followers that lag",
    ),
    Mutation(
        "a follower may have no more than what is stored as written",
        "shmlog/native/followers.h",
        "    else if (written > end_offset || synced > end_offset) follower->fault",
        "    else if (written > end_offset || synced > end_offset || written == end_offset) follower->fault",
        "publish: followers, one quick and one slow",
    ),
    Mutation(
        "a follower that has caught up is reported before it counts",
        "shmlog/machines/replica_lag.py",
        "                    decisions.append(Count(one.replica_id, counts=True))\n",
        "                    pass\n",
        "publish: a follower catches up and is waited for from then on",
    ),
    Mutation(
        "a high watermark that was half stored stays so",
        LOG_END,
        "            self._follow_watermark_to(<int64_t>shm_load_relaxed(self.ctl + CTL_HW_OFFSET))\n",
        "            pass\n",
        "publish: followers, one quick and one slow",
    ),
    Mutation(
        "consumers see what too few replicas in sync have",
        LOG_END,
        "        if self.under_min_isr:\n            return False\n",
        "",
        "publish: too few replicas in sync, then enough",
    ),
    Mutation(
        "without followers the high watermark is where the log ends, however many are needed",
        LOG_END,
        "        self.goes_by_index = self.follower_count or self.under_min_isr\n",
        "        self.goes_by_index = self.follower_count != 0\n",
        "publish: too few replicas in sync, then enough",
    ),
    Mutation(
        "a cold start with too few replicas in sync shows everything",
        OPENING,
        "in_sync > 1 or InSyncCount.of(spec.replicas, in_sync, config.min_insync_replicas).is_short:",
        "in_sync > 1:",
        "publish: too few replicas in sync, then enough",
    ),
    Mutation(
        "a cold start shows everything at once",
        OPENING,
        "    if in_sync > 1 or InSyncCount.of(spec.replicas, in_sync, config.min_insync_replicas).is_short:\n",
        "    if False:\n",
        "start after a reboot with followers",
    ),
]
