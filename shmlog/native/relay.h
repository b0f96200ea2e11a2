/* Event loops cannot sleep on a futex, but on a descriptor. So one thread of the process sleeps on the doorbell for all
 * of them, and writes the eventfd of each loop that waits. It runs no Python and never takes the GIL; the flag of the
 * doorbell stays with those who wait (Doorbell.prepare and cancel).
 *
 *   owner --futex--> relay thread --eventfd--> epoll of every loop that is armed
 *
 * While no loop is armed the thread is parked on a condition variable: rings for other sleepers of the process do not
 * disturb it. Once it waits for a ring it goes on doing so, parked again only when a ring comes that nobody wanted.
 */
#ifndef SHMLOG_RELAY_H
#define SHMLOG_RELAY_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "access.h"
#include "futex.h"

enum { RELAY_LOOPS_MAX = 256, RELAY_STACK_BYTES = 128 * 1024 };

struct relay_listener {
    int fd; /* -1: a free place */
    int armed;
};

struct relay {
    pthread_mutex_t lock; /* guards all below but bell and sleep_ns; never held over a system call that may wait */
    pthread_cond_t changed;
    pthread_t thread;
    unsigned char *bell;
    int64_t sleep_ns;
    uint32_t heard; /* the doorbell's count when it was relayed last */
    int armed_count, parked, writing, stopping;
    struct relay_listener listeners[RELAY_LOOPS_MAX];
};

static inline void relay_write(int fd) {
    uint64_t one = 1;
    /* EAGAIN: it could not be more readable. Other errors are the loop's, which looks around every second anyway. */
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

static inline void *relay_run(void *argument) {
    struct relay *relay = (struct relay *)argument;
    int fds[RELAY_LOOPS_MAX];
    pthread_mutex_lock(&relay->lock);
    while (!relay->stopping) {
        if (relay->armed_count == 0) {
            relay->parked = 1;
            pthread_cond_wait(&relay->changed, &relay->lock);
            continue;
        }
        uint32_t heard = relay->heard;
        pthread_mutex_unlock(&relay->lock);
        futex_wait_until(relay->bell + BELL_DOORBELL, heard, monotonic_ns() + relay->sleep_ns);
        pthread_mutex_lock(&relay->lock);
        /* SYNC POINT bell-relay: pairs with bell-count. What is remembered is what was read before the write: a ring
         * after this load makes the next sleep return at once. */
        uint32_t now = shm_load32_acquire(relay->bell + BELL_DOORBELL);
        if (now == relay->heard) continue;
        relay->heard = now;
        int count = 0;
        for (int slot = 0; slot < RELAY_LOOPS_MAX; slot++)
            if (relay->listeners[slot].armed) fds[count++] = relay->listeners[slot].fd;
        relay->writing = 1; /* whoever takes a descriptor away waits for the end of this */
        pthread_mutex_unlock(&relay->lock);
        for (int k = 0; k < count; k++) relay_write(fds[k]);
        pthread_mutex_lock(&relay->lock);
        relay->writing = 0;
        pthread_cond_broadcast(&relay->changed);
    }
    pthread_mutex_unlock(&relay->lock);
    return NULL;
}

/* Begin, parked. Returns 0 or an errno. Signals are for the program's own threads. */
static inline int relay_start(struct relay *relay, unsigned char *bell, int64_t sleep_ns) {
    pthread_attr_t attributes;
    sigset_t all, before;
    int failure;
    relay->bell = bell;
    relay->sleep_ns = sleep_ns;
    relay->heard = 0;
    relay->armed_count = relay->parked = relay->writing = relay->stopping = 0;
    for (int slot = 0; slot < RELAY_LOOPS_MAX; slot++) relay->listeners[slot] = (struct relay_listener){.fd = -1, .armed = 0};
    pthread_mutex_init(&relay->lock, NULL);
    pthread_cond_init(&relay->changed, NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, RELAY_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failure = pthread_create(&relay->thread, &attributes, relay_run, relay);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failure;
}

/* A place for an eventfd; -1: all are taken. */
static inline int relay_listen(struct relay *relay, int fd) {
    int found = -1;
    pthread_mutex_lock(&relay->lock);
    for (int slot = 0; slot < RELAY_LOOPS_MAX && found < 0; slot++)
        if (relay->listeners[slot].fd < 0) found = slot;
    if (found >= 0) relay->listeners[found].fd = fd;
    pthread_mutex_unlock(&relay->lock);
    return found;
}

/* Write this place's eventfd at every ring after the one that `ticket` counts, which Doorbell.prepare gave. */
static inline void relay_arm(struct relay *relay, int slot, uint32_t ticket) {
    pthread_mutex_lock(&relay->lock);
    if (!relay->listeners[slot].armed) {
        relay->listeners[slot].armed = 1;
        relay->armed_count++;
    }
    if (relay->parked) {
        relay->parked = 0;
        relay->heard = ticket;
        pthread_cond_broadcast(&relay->changed);
    } else if ((int32_t)(relay->heard - ticket) > 0) {
        relay_write(relay->listeners[slot].fd); /* the thread has heard a ring after it while this place was not armed */
    } /* else the thread hears what comes after `heard`, and that is at least what comes after the ticket */
    pthread_mutex_unlock(&relay->lock);
}

static inline void relay_disarm(struct relay *relay, int slot) {
    pthread_mutex_lock(&relay->lock);
    if (relay->listeners[slot].armed) {
        relay->listeners[slot].armed = 0;
        relay->armed_count--;
    }
    pthread_mutex_unlock(&relay->lock);
}

/* Give a place back; afterwards its eventfd is not written any more and may be closed. */
static inline void relay_leave(struct relay *relay, int slot) {
    relay_disarm(relay, slot);
    pthread_mutex_lock(&relay->lock);
    while (relay->writing) pthread_cond_wait(&relay->changed, &relay->lock);
    relay->listeners[slot].fd = -1;
    pthread_mutex_unlock(&relay->lock);
}

/* End the thread and wait for it; the doorbell must still be mapped. */
static inline void relay_stop(struct relay *relay) {
    pthread_mutex_lock(&relay->lock);
    relay->stopping = 1;
    pthread_cond_broadcast(&relay->changed);
    pthread_mutex_unlock(&relay->lock);
    /* As a ring, because the thread may be about to sleep. */
    shm_fetch_add32(relay->bell + BELL_DOORBELL, 1);
    futex_wake_all(relay->bell + BELL_DOORBELL);
    pthread_join(relay->thread, NULL);
    pthread_cond_destroy(&relay->changed);
    pthread_mutex_destroy(&relay->lock);
}

#endif
