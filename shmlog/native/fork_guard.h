/* Counts the forks between the process that made a handle and the one that uses it. pthread_atfork also sees forks
 * that Python does not make itself. A handle whose generation differs belongs to an ancestor. */
#ifndef SHMLOG_FORK_GUARD_H
#define SHMLOG_FORK_GUARD_H

#include <pthread.h>

static unsigned int fork_generation_count;

static void fork_guard_child(void) { fork_generation_count++; }

__attribute__((constructor)) static void fork_guard_init(void) { pthread_atfork(NULL, NULL, fork_guard_child); }

static inline unsigned int fork_generation(void) { return fork_generation_count; }

#endif
