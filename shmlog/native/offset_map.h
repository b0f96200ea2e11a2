/* The newest offset of each key, in memory of a fixed size that does not grow with the keys (after Kafka's
 * SkimpyOffsetMap): of a key there is only its hash, so 24 bytes hold one however long it is.
 *
 * Two keys of one hash would be taken for one, and the older record of the two lost. With 128 bits that happens once in
 * 10^20 cleanings of 10^9 keys each; and the hash has a key of its own for each cleaning, so nobody can choose keys that
 * collide, nor ones that make the map slow.
 *
 * Open addressing with linear probing, where who is nearer to its home gives way (Celis: "Robin Hood Hashing", 1986). So
 * a look for a key that is not there ends where it would have given way, which at nine tenths full is a few slots away
 * instead of fifty. Nothing is ever removed.
 */
#ifndef SHMLOG_OFFSET_MAP_H
#define SHMLOG_OFFSET_MAP_H

#include "siphash.h"

typedef struct {
    hash128 hash;
    uint64_t next; /* the offset after that of the record; 0: nobody is here */
} offset_slot;

typedef struct {
    offset_slot *slots;
    uint64_t slot_count, key_count, key_count_max;
    uint64_t seed_low, seed_high;
} offset_map;

static inline uint64_t slot_home(const offset_map *map, hash128 hash) {
    return (uint64_t)((unsigned __int128)hash.low * map->slot_count >> 64);
}

static inline uint64_t slot_distance(const offset_map *map, uint64_t at) {
    uint64_t home = slot_home(map, map->slots[at].hash);
    return at >= home ? at - home : at + map->slot_count - home;
}

static inline hash128 key_hash(const offset_map *map, const unsigned char *key, size_t length) {
    return siphash128(key, length, map->seed_low, map->seed_high);
}

/* A look or put follows soon: bring its slot nearer. */
static inline void slot_prefetch(const offset_map *map, hash128 hash) {
    if (map->slot_count) __builtin_prefetch(&map->slots[slot_home(map, hash)]);
}

static inline int slot_is_of(const offset_slot *slot, hash128 hash) {
    return slot->hash.low == hash.low && slot->hash.high == hash.high;
}

/* The newest offset that was put for a key; -1 without one. */
static inline int64_t map_look(const offset_map *map, hash128 hash) {
    uint64_t at, distance = 0;
    if (!map->key_count) return -1;
    at = slot_home(map, hash);
    for (;;) {
        const offset_slot *slot = &map->slots[at];
        if (!slot->next) return -1;
        if (slot_is_of(slot, hash)) return (int64_t)(slot->next - 1);
        if (slot_distance(map, at) < distance) return -1;
        distance++;
        if (++at == map->slot_count) at = 0;
    }
}

/* Note an offset, newer than all before, for a key. 0 when it is a new key and there is no room for it. */
static inline int map_put(offset_map *map, hash128 hash, int64_t offset) {
    uint64_t at = slot_home(map, hash), distance = 0;
    offset_slot moving = {hash, (uint64_t)offset + 1}, given;
    for (;;) {
        offset_slot *slot = &map->slots[at];
        if (slot->next && slot_is_of(slot, hash)) {
            slot->next = moving.next;
            return 1;
        }
        if (!slot->next || slot_distance(map, at) < distance) break;
        distance++;
        if (++at == map->slot_count) at = 0;
    }
    if (map->key_count == map->key_count_max) return 0;
    map->key_count++;
    while (map->slots[at].next) {
        uint64_t theirs = slot_distance(map, at);
        if (theirs < distance) {
            given = map->slots[at];
            map->slots[at] = moving;
            moving = given;
            distance = theirs;
        }
        distance++;
        if (++at == map->slot_count) at = 0;
    }
    map->slots[at] = moving;
    return 1;
}

#endif
