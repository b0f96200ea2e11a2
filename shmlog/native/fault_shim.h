/* A disk that misbehaves on order, and a wall clock that is set: wrappers of the calls that write files and of those
 * that tell the time of day, to be put before libc with LD_PRELOAD.
 *
 * Orders stand in a file that the torturer writes and every preloaded process maps shared (so owners get it from their
 * zygote through fork). While nothing is ordered a call costs one load. Only files below the page's directory matter.
 *
 *        0        8           16                    528         536  1024                    1024 + 31 * 96
 *        +--------+-----------+---------------------+-----------+----+----------+---- ... ---+
 *        | magic  | armed     | directory, 0-ended  | wall_ns   |    | order 0  |            |
 *        +--------+-----------+---------------------+-----------+----+----------+---- ... ---+
 *
 * An order is written by the torturer while it is not armed; the shim only takes from `skip` and `left` and adds to
 * `hits`, in whichever process makes the call, so a count holds across owners and across their deaths.
 */
#ifndef SHMLOG_FAULT_SHIM_H
#define SHMLOG_FAULT_SHIM_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "access.h"

#define FAULT_MAGIC 0x31746C7561666D73ULL
#define FAULT_ORDERS 32
#define FAULT_DIRECTORY_BYTES 512
#define FAULT_PLACE_BYTES 40
#define FAULT_VARIABLE "SHMLOG_FAULTS"

enum {
    FAULT_PWRITE = 1, FAULT_WRITE = 2, FAULT_FDATASYNC = 4, FAULT_FSYNC = 8, FAULT_OPEN = 16, FAULT_RENAME = 32,
    FAULT_FTRUNCATE = 64, FAULT_FALLOCATE = 128
};

typedef struct {
    uint32_t armed;
    uint32_t calls;      /* which calls, FAULT_... added up */
    int64_t error;       /* errno; 0: the call does half of its work, a short write */
    int64_t skip;        /* so many matching calls pass first */
    int64_t left;        /* so many fail after these */
    int64_t until_ns;    /* monotonic; the order ends by itself, also when its author has died */
    uint64_t hits;
    char place[FAULT_PLACE_BYTES]; /* must occur in the path; empty: everywhere */
    uint64_t reserved;
} fault_order;

typedef struct {
    uint64_t magic;
    uint64_t armed; /* orders that are armed: the one load */
    char directory[FAULT_DIRECTORY_BYTES];
    int64_t wall_ns; /* added to the time of day; clocks that never go back are as they are */
    char reserved[488];
    fault_order orders[FAULT_ORDERS];
} fault_page;

_Static_assert(sizeof(fault_order) == 96, "an order has 96 bytes");
_Static_assert(sizeof(fault_page) == 1024 + FAULT_ORDERS * 96, "the page is header and orders");

static fault_page *fault_orders = NULL;

#define FAULT_SECOND_NS 1000000000LL

static int64_t fault_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * FAULT_SECOND_NS + now.tv_nsec;
}

/* Take one from a counter that many processes take from; 0 when there is none left. */
static int fault_take(int64_t *counter) {
    int64_t seen = __atomic_load_n(counter, __ATOMIC_RELAXED);
    while (seen > 0)
        if (__atomic_compare_exchange_n(counter, &seen, seen - 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return 1;
    return 0;
}

/* What is ordered for this call: -1 nothing, 0 a short write, else an errno. */
static int fault_for_path(uint32_t call, const char *path) {
    size_t prefix = strlen(fault_orders->directory);
    if (strncmp(path, fault_orders->directory, prefix) != 0) return -1;
    for (int at = 0; at < FAULT_ORDERS; at++) {
        fault_order *order = &fault_orders->orders[at];
        if (!shm_load32_acquire(&order->armed) || !(order->calls & call)) continue; /* SYNC POINT fault-read: pairs with fault-arm */
        if (order->place[0] && strstr(path + prefix, order->place) == NULL) continue;
        if (fault_now_ns() >= order->until_ns) continue;
        if (fault_take(&order->skip) || !fault_take(&order->left)) continue;
        __atomic_fetch_add(&order->hits, 1, __ATOMIC_RELAXED);
        return (int)order->error;
    }
    return -1;
}

static int fault_is_quiet(void) { return fault_orders == NULL || shm_load_acquire(&fault_orders->armed) == 0; }

static int fault_for_fd(uint32_t call, int fd) {
    char link[32], path[4096];
    ssize_t length;
    if (fault_is_quiet()) return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return -1;
    path[length] = 0;
    return fault_for_path(call, path);
}

/* The function that ours hides. */
#define FAULT_REAL(type, name)                                    \
    static __typeof__(type) real;                                 \
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, name)

#define FAULT_EXPORT __attribute__((visibility("default"), used))

/* Every wrapper exists under both of libc's names: CPython calls the 64-bit one, C code the plain one. The symbol is
 * given apart from the C name, because headers and macros already know the plain names. */
#define FAULT_BOTH(define, name) define(fault_##name, name) define(fault_##name##64, name##64)

#define FAULT_DEFINE_PWRITE(ours, name)                                                                               \
    FAULT_EXPORT ssize_t ours(int fd, const void *bytes, size_t count, int64_t position) __asm__(#name);              \
    ssize_t ours(int fd, const void *bytes, size_t count, int64_t position) {                                         \
        FAULT_REAL(ssize_t(*)(int, const void *, size_t, int64_t), #name);                                            \
        int fault = count ? fault_for_fd(FAULT_PWRITE, fd) : -1;                                                      \
        if (fault > 0) { errno = fault; return -1; }                                                                  \
        return real(fd, bytes, fault == 0 && count > 1 ? count / 2 : count, position);                                \
    }
FAULT_BOTH(FAULT_DEFINE_PWRITE, pwrite)

FAULT_EXPORT ssize_t fault_write(int fd, const void *bytes, size_t count) __asm__("write");
ssize_t fault_write(int fd, const void *bytes, size_t count) {
    FAULT_REAL(ssize_t(*)(int, const void *, size_t), "write");
    int fault = count ? fault_for_fd(FAULT_WRITE, fd) : -1;
    if (fault > 0) { errno = fault; return -1; }
    return real(fd, bytes, fault == 0 && count > 1 ? count / 2 : count);
}

#define FAULT_DEFINE_SYNC(ours, name, call)               \
    FAULT_EXPORT int ours(int fd) __asm__(#name);         \
    int ours(int fd) {                                    \
        FAULT_REAL(int (*)(int), #name);                  \
        int fault = fault_for_fd(call, fd);               \
        if (fault > 0) { errno = fault; return -1; }      \
        return real(fd);                                  \
    }
FAULT_DEFINE_SYNC(fault_fdatasync, fdatasync, FAULT_FDATASYNC)
FAULT_DEFINE_SYNC(fault_fsync, fsync, FAULT_FSYNC)

#define FAULT_DEFINE_OPEN(ours, name)                                                              \
    FAULT_EXPORT int ours(const char *path, int flags, ...) __asm__(#name);                        \
    int ours(const char *path, int flags, ...) {                                                   \
        FAULT_REAL(int (*)(const char *, int, ...), #name);                                        \
        va_list given;                                                                             \
        int mode;                                                                                  \
        va_start(given, flags);                                                                    \
        mode = va_arg(given, int);                                                                 \
        va_end(given);                                                                             \
        if ((flags & O_ACCMODE) != O_RDONLY && !fault_is_quiet()) {                                \
            int fault = fault_for_path(FAULT_OPEN, path);                                          \
            if (fault > 0) { errno = fault; return -1; }                                           \
        }                                                                                          \
        return real(path, flags, mode);                                                            \
    }
FAULT_BOTH(FAULT_DEFINE_OPEN, open)

FAULT_EXPORT int fault_rename(const char *old, const char *new) __asm__("rename");
int fault_rename(const char *old, const char *new) {
    FAULT_REAL(int (*)(const char *, const char *), "rename");
    int fault = fault_is_quiet() ? -1 : fault_for_path(FAULT_RENAME, new);
    if (fault > 0) { errno = fault; return -1; }
    return real(old, new);
}

#define FAULT_DEFINE_FTRUNCATE(ours, name)                     \
    FAULT_EXPORT int ours(int fd, int64_t size) __asm__(#name); \
    int ours(int fd, int64_t size) {                           \
        FAULT_REAL(int (*)(int, int64_t), #name);              \
        int fault = fault_for_fd(FAULT_FTRUNCATE, fd);         \
        if (fault > 0) { errno = fault; return -1; }           \
        return real(fd, size);                                 \
    }
FAULT_BOTH(FAULT_DEFINE_FTRUNCATE, ftruncate)

#define FAULT_DEFINE_FALLOCATE(ours, name)                                          \
    FAULT_EXPORT int ours(int fd, int64_t from, int64_t size) __asm__(#name);       \
    int ours(int fd, int64_t from, int64_t size) {                                  \
        FAULT_REAL(int (*)(int, int64_t, int64_t), #name);                          \
        int fault = fault_for_fd(FAULT_FALLOCATE, fd);                              \
        return fault > 0 ? fault : real(fd, from, size);                            \
    }
FAULT_BOTH(FAULT_DEFINE_FALLOCATE, posix_fallocate)

/* The time of day that somebody has set: libc's, and so much more or less. */
static void fault_set_clock(struct timespec *now) {
    int64_t ns = fault_orders == NULL ? 0 : (int64_t)shm_load_relaxed(&fault_orders->wall_ns);
    if (ns == 0) return;
    ns += (int64_t)now->tv_sec * FAULT_SECOND_NS + now->tv_nsec;
    now->tv_sec = ns / FAULT_SECOND_NS;
    now->tv_nsec = ns % FAULT_SECOND_NS;
}

FAULT_EXPORT int fault_clock_gettime(clockid_t clock, struct timespec *now) __asm__("clock_gettime");
int fault_clock_gettime(clockid_t clock, struct timespec *now) {
    FAULT_REAL(int (*)(clockid_t, struct timespec *), "clock_gettime");
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) fault_set_clock(now);
    return result;
}

FAULT_EXPORT time_t fault_time(time_t *seconds) __asm__("time");
time_t fault_time(time_t *seconds) {
    struct timespec now;
    fault_clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (seconds != NULL) *seconds = now.tv_sec;
    return now.tv_sec;
}

FAULT_EXPORT int fault_gettimeofday(struct timeval *day, void *zone) __asm__("gettimeofday");
int fault_gettimeofday(struct timeval *day, void *zone) {
    struct timespec now;
    (void)zone;
    fault_clock_gettime(CLOCK_REALTIME, &now);
    day->tv_sec = now.tv_sec;
    day->tv_usec = now.tv_nsec / 1000;
    return 0;
}

/* Map the file of orders that the environment names. Without the variable, in every process that only imports the
 * module, the wrappers hide nothing and are never called. */
__attribute__((constructor)) static void fault_begin(void) {
    const char *path = getenv(FAULT_VARIABLE);
    void *page;
    int fd, before = errno;
    if (path == NULL || fault_orders != NULL) return;
    FAULT_REAL(int (*)(const char *, int, ...), "open");
    fd = real(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "error: $%s names %s: %s\n", FAULT_VARIABLE, path, strerror(errno));
        _exit(1);
    }
    page = mmap(NULL, sizeof(fault_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED || ((fault_page *)page)->magic != FAULT_MAGIC) {
        fprintf(stderr, "error: $%s names %s, which holds no orders of this version\n", FAULT_VARIABLE, path);
        _exit(1);
    }
    fault_orders = page;
    errno = before;
}

#endif
