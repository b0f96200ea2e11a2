/* Memory that a forked process got from its parent, wrote to, and left as it was.
 *
 * A fork shares pages until one side writes. Python writes wherever it looks (reference counts), and most of these
 * writes are undone a moment later; but the page stays a copy of its own. So the parent, before it forks, puts what its
 * private memory holds into a sealed file, and maps that file there instead, privately:
 *
 *     before   [ private page ]                     after   [ file's page, read by all ]
 *                                                               | a write
 *                                                           [ private copy ]  -- equal again? drop it: the file's page
 *
 * Dropping a copy that equals the file's page changes no byte, so nobody can notice, provided that nobody writes between
 * the comparison and the drop: the process has one thread, and no signal handler runs meanwhile. Which addresses still
 * are the file's is asked of the kernel each time: what was unmapped and mapped again is no business of ours.
 */
#ifndef SHMLOG_INHERITED_H
#define SHMLOG_INHERITED_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define INHERITED_NAME "shmlog-inherited"
#define INHERITED_PATH "/memfd:" INHERITED_NAME
#define INHERITED_RANGES_MAX 1024
#define INHERITED_RANGE_BYTES_MAX ((size_t)64 << 20) /* shadow memory of sanitizers is not worth a copy */
#define INHERITED_PAGE 4096

typedef struct { unsigned char *start, *end; uint64_t offset; } inherited_range;

static const unsigned char *inherited_image; /* the file, read-only; NULL before inherited_keep */
static size_t inherited_image_bytes;

/* Lines of /proc/self/maps, one after the other, through a buffer on the stack: no memory is allocated on the way. */
typedef struct { int fd; size_t filled, taken; char bytes[8192]; } maps_reader;

static char *maps_line(maps_reader *maps) {
    for (;;) {
        char *line = maps->bytes + maps->taken, *end = memchr(line, '\n', maps->filled - maps->taken);
        if (end) {
            *end = 0;
            maps->taken = (size_t)(end - maps->bytes) + 1;
            return line;
        }
        memmove(maps->bytes, line, maps->filled - maps->taken);
        maps->filled -= maps->taken;
        maps->taken = 0;
        if (maps->filled == sizeof maps->bytes) return NULL; /* no path is that long */
        ssize_t got = read(maps->fd, maps->bytes + maps->filled, sizeof maps->bytes - maps->filled);
        if (got <= 0) return NULL;
        maps->filled += (size_t)got;
    }
}

/* "start-end rw-p offset dev inode path": the range if its permissions begin with `permissions`; the path or "". */
static const char *maps_parse(char *line, const char *permissions, inherited_range *range) {
    char *at = line;
    range->start = (unsigned char *)(uintptr_t)strtoull(at, &at, 16);
    if (*at++ != '-') return NULL;
    range->end = (unsigned char *)(uintptr_t)strtoull(at, &at, 16);
    if (*at++ != ' ' || strncmp(at, permissions, 4) != 0) return NULL;
    range->offset = strtoull(at + 4, &at, 16);
    const char *path = strpbrk(at, "/[");
    return path ? path : "";
}

static inline int is_in(const void *p, const inherited_range *range) {
    return (const unsigned char *)p >= range->start && (const unsigned char *)p < range->end;
}

/* What may be replaced: private, writable, not a stack, and not where the kernel and libc keep this thread's state. */
static size_t inherited_ranges(inherited_range *ranges) {
    maps_reader maps = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    if (maps.fd < 0) return 0;
    size_t count = 0;
    for (char *line; count < INHERITED_RANGES_MAX && (line = maps_line(&maps)) != NULL;) {
        const char *path = maps_parse(line, "rw-p", &ranges[count]);
        if (!path || (*path == '[' && strcmp(path, "[heap]") != 0)) continue;
        if ((size_t)(ranges[count].end - ranges[count].start) > INHERITED_RANGE_BYTES_MAX) continue;
        if (is_in(&errno, &ranges[count]) || is_in(ranges, &ranges[count]) || is_in(&maps, &ranges[count])) continue;
        count++;
    }
    close(maps.fd);
    return count;
}

static inline int has_one_thread(void) {
    struct stat status;
    return stat("/proc/self/task", &status) == 0 && status.st_nlink == 3;
}

static inline int is_zero(const unsigned char *page) {
    return page[0] == 0 && memcmp(page, page + 1, INHERITED_PAGE - 1) == 0;
}

/* Copy a range into the file (pages of zeros stay holes), then map the file in its place: no write in between. */
static int inherited_replace(const inherited_range *range, unsigned char *file, int fd) {
    size_t bytes = (size_t)(range->end - range->start);
    for (size_t at = 0; at < bytes; at += INHERITED_PAGE)
        if (!is_zero(range->start + at)) memcpy(file + range->offset + at, range->start + at, INHERITED_PAGE);
    return mmap(range->start, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, (off_t)range->offset) == MAP_FAILED;
}

/* Bytes that are kept, or -1 with errno. Once per process and its children. */
static inline int64_t inherited_keep(void) {
    if (inherited_image || !has_one_thread()) { errno = EAGAIN; return -1; }
    size_t table_bytes = INHERITED_RANGES_MAX * sizeof(inherited_range), bytes = 0;
    inherited_range *ranges = mmap(NULL, table_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ranges == MAP_FAILED) return -1;
    size_t count = inherited_ranges(ranges);
    for (size_t k = 0; k < count; k++) {
        ranges[k].offset = bytes;
        bytes += (size_t)(ranges[k].end - ranges[k].start);
    }
    int fd = count ? memfd_create(INHERITED_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1, failed = 1, code = errno;
    if (fd >= 0) {
        unsigned char *file = ftruncate(fd, (off_t)bytes) == 0
            ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
        if (file != MAP_FAILED) {
            failed = 0;
            for (size_t k = 0; k < count && !failed; k++) failed = inherited_replace(&ranges[k], file, fd);
            munmap(file, bytes);
            failed |= fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0;
        }
        void *image = failed ? MAP_FAILED : mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        failed = image == MAP_FAILED;
        code = errno;
        if (!failed) { inherited_image = image; inherited_image_bytes = bytes; }
        close(fd);
    }
    munmap(ranges, table_bytes);
    errno = code;
    return failed ? -1 : (int64_t)bytes;
}

/* Drop the private copies in one range that equal the file; `pagemap` says which pages are private copies. */
static int64_t inherited_compare(const inherited_range *range, int pagemap) {
    uint64_t entries[512];
    int64_t dropped = 0;
    size_t pages = (size_t)(range->end - range->start) / INHERITED_PAGE;
    for (size_t first = 0; first < pages; first += 512) {
        size_t some = pages - first < 512 ? pages - first : 512;
        off_t at = (off_t)(((uintptr_t)range->start / INHERITED_PAGE + first) * sizeof(uint64_t));
        if (pread(pagemap, entries, some * sizeof(uint64_t), at) != (ssize_t)(some * sizeof(uint64_t))) return dropped;
        for (size_t k = 0; k < some; k++) {
            if (!(entries[k] >> 63) || entries[k] >> 61 & 1) continue; /* not in memory, or the file's own page */
            unsigned char *page = range->start + (first + k) * INHERITED_PAGE;
            const unsigned char *kept = inherited_image + range->offset + (first + k) * INHERITED_PAGE;
            if (memcmp(page, kept, INHERITED_PAGE) == 0 && madvise(page, INHERITED_PAGE, MADV_DONTNEED) == 0)
                dropped += INHERITED_PAGE;
        }
    }
    return dropped;
}

/* Bytes given back, or -1 with errno; EAGAIN with other threads about. */
static inline int64_t inherited_give_back(void) {
    if (!inherited_image) return 0;
    if (!has_one_thread()) { errno = EAGAIN; return -1; }
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    maps_reader maps = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), code = errno;
    int64_t dropped = maps.fd < 0 || pagemap < 0 ? -1 : 0;
    for (char *line; dropped >= 0 && (line = maps_line(&maps)) != NULL;) {
        inherited_range range;
        const char *path = maps_parse(line, "rw-p", &range);
        if (!path || strncmp(path, INHERITED_PATH, strlen(INHERITED_PATH)) != 0) continue;
        if (range.offset + (size_t)(range.end - range.start) > inherited_image_bytes) continue;
        dropped += inherited_compare(&range, pagemap);
    }
    if (maps.fd >= 0) close(maps.fd);
    if (pagemap >= 0) close(pagemap);
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return dropped;
}

#endif
