/* Counts shared stores and system calls of one process in one sequence, and kills it (or stops it) at the n-th.
 *
 * Loaded with LD_PRELOAD. The counted core (points.h) calls shmlog_crash_point before each shared store; the functions
 * below stand in front of the C library's, so that every call that changes a file, a directory or a region is counted,
 * whoever makes it: the core, CPython or posix_ipc. A point lies before its store or call, so killing at n = 1, 2, ...
 * leaves every prefix of the process's program order. A write and a copy have a second point in their middle.
 *
 * Threads other than the main one have a sequence of their own: with freeze_aside_at = m, such a thread stops for good
 * before its m-th call, while the main thread goes on. A kill of the main thread at n then leaves the pair (n, m).
 *
 * Syncs count and do nothing else, armed or not: what a kill leaves does not depend on the disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define TRACE_MAX 65536

/* In memory that the process shares with the one that watches it. The order of the fields is in count.py. */
typedef struct {
    uint64_t points, syscalls, kill_at, aside_points, freeze_aside_at, aside_frozen, signal;
    unsigned char trace[TRACE_MAX]; /* the first letter of each point: s store, c copy, else the call's name */
} count_page;

static count_page *page;

void crash_points_arm(count_page *shared) { page = shared; }

/* A stopped process goes on here when somebody lets it. */
static void strike(void) {
    kill(getpid(), (int)page->signal);
    while (page->signal == SIGKILL) pause();
}

static void point(unsigned char what) {
    if (!page) return;
    if (getpid() != (pid_t)syscall(SYS_gettid)) {
        if (what == 's' || what == 'c') return; /* may hold Python's lock, under which nobody must stop */
        if (__atomic_add_fetch(&page->aside_points, 1, __ATOMIC_SEQ_CST) == page->freeze_aside_at) {
            __atomic_store_n(&page->aside_frozen, 1, __ATOMIC_SEQ_CST);
            for (;;) pause();
        }
        return;
    }
    uint64_t n = ++page->points;
    if (what != 's' && what != 'c') page->syscalls++;
    if (n <= TRACE_MAX) page->trace[n - 1] = what;
    if (n == page->kill_at) strike();
}

void shmlog_crash_point(void) { point('s'); }

void shmlog_crash_copy(void *dst, const void *src, size_t n) {
    size_t half = n / 2 & ~(size_t)7;
    memcpy(dst, src, half);
    if (half) point('c');
    memcpy((char *)dst + half, (const char *)src + half, n - half);
}

#define NEXT(name) ({ static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); next; })

static int is_file(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

#define OPEN(name)                                        \
    int name(const char *path, int flags, ...) {          \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                     \
        if (flags & (O_CREAT | O_TRUNC)) point('o');      \
        return NEXT(name)(path, flags, mode);             \
    }
OPEN(open)
OPEN(open64)

#define PWRITE(name, offset)                                                   \
    ssize_t name(int fd, const void *data, size_t n, offset position) {        \
        point('w');                                                            \
        if (page && n > 1) {                                                   \
            ssize_t done = NEXT(name)(fd, data, n / 2, position);              \
            if (done < 0 || (size_t)done < n / 2) return done;                 \
            point('w');                                                        \
            ssize_t more = NEXT(name)(fd, (const char *)data + n / 2, n - n / 2, position + (offset)(n / 2)); \
            return more < 0 ? done : done + more;                              \
        }                                                                      \
        return NEXT(name)(fd, data, n, position);                              \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t n) {
    if (page && is_file(fd)) point('w');
    return NEXT(write)(fd, data, n);
}

#define COUNTED(letter, type, name, parameters, ...) \
    type name parameters {                           \
        point(letter);                               \
        return NEXT(name)(__VA_ARGS__);              \
    }
COUNTED('t', int, ftruncate, (int fd, off_t size), fd, size)
COUNTED('t', int, ftruncate64, (int fd, off64_t size), fd, size)
COUNTED('a', int, posix_fallocate, (int fd, off_t from, off_t size), fd, from, size)
COUNTED('a', int, posix_fallocate64, (int fd, off64_t from, off64_t size), fd, from, size)
COUNTED('r', int, rename, (const char *from, const char *to), from, to)
COUNTED('u', int, unlink, (const char *path), path)
COUNTED('u', int, unlinkat, (int directory, const char *path, int flags), directory, path, flags)
COUNTED('d', int, rmdir, (const char *path), path)
COUNTED('d', int, mkdir, (const char *path, mode_t mode), path, mode)
COUNTED('m', int, chmod, (const char *path, mode_t mode), path, mode)
COUNTED('m', int, fchmod, (int fd, mode_t mode), fd, mode)
COUNTED('n', int, shm_open, (const char *name, int flags, mode_t mode), name, flags, mode)
COUNTED('u', int, shm_unlink, (const char *name), name)

int fsync(int fd) {
    (void)fd;
    point('f');
    return 0;
}

int fdatasync(int fd) {
    (void)fd;
    point('f');
    return 0;
}
