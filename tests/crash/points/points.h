/* Included before everything else when the core is compiled for counting: what access.h leaves open for it.
 * The counter itself is in preload.c, one for all extension modules and all system calls of the process. */
#ifndef SHMLOG_POINTS_H
#define SHMLOG_POINTS_H

#include <stddef.h>

void shmlog_crash_point(void);
void shmlog_crash_copy(void *dst, const void *src, size_t n);

#define SHM_STORE_POINT() shmlog_crash_point()
#define SHM_COPY(dst, src, n) shmlog_crash_copy(dst, src, n)

#endif
