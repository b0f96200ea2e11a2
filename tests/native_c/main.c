/* The core's headers without Python, for any processor: known answers, then a partition in threads.
 *
 *     main RECORDS
 *
 * Prints one line and ends with 0, or says what is not so and ends with 1.
 */
#include "partition.h"

int main(int argc, char **argv) {
    partition p = {0};
    pthread_t threads[4];
    void *(*work[4])(void *) = {produce, own, read_quickly, read_slowly};
    REQUIRE(argc == 2);
    know_the_answers();
    p.records = (uint32_t)strtoul(argv[1], NULL, 10);
    p.lane = map_region(LANE_DATA, LANE_BYTES);
    p.ring = map_region(0, RING_BYTES);
    p.ctl = map_region(CTL_SIZE, 0);
    p.owner_bell = map_region(BELL_SIZE, 0);
    p.reader_bell = map_region(BELL_SIZE, 0);
    shm_store_release(p.lane + LANE_OPEN, open_word(0, 1, 0, 0));
    for (int k = 0; k < 4; k++) REQUIRE(pthread_create(&threads[k], NULL, work[k], &p) == 0);
    for (int k = 0; k < 4; k++) REQUIRE(pthread_join(threads[k], NULL) == 0);
    printf("checksum=%s records=%u quick=%llu/%llu slow=%llu/%llu sleeps=%llu/%llu\n", crc32c_flavour, p.records,
           (unsigned long long)p.quick_batches, (unsigned long long)p.quick_lags, (unsigned long long)p.slow_batches,
           (unsigned long long)p.slow_lags, (unsigned long long)p.owner_sleeps, (unsigned long long)p.reader_sleeps);
    return 0;
}
