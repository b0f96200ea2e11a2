"""What the allocator does with the memory of records that were read: keep it for the next ones.

glibc gives the top of its heap back to the kernel when more of it is free than twice the largest block that it ever
mapped and unmapped (mallopt(3), "dynamic mmap threshold"): at first after 256 KiB, which is one fetch. Reading then
takes the same pages from the kernel and gives them back with each fetch.
"""

from __future__ import annotations

from functools import cache

KEPT_BYTES = 8 * 1024 * 1024
"""As much freed memory may stay in this process."""


@cache
def keep_freed_memory() -> None:
    """Have the allocator keep KEPT_BYTES of freed memory, by freeing once a block of half as much.

    For the whole process, once. The block is mapped and never touched. Other allocators than glibc's do as they like.
    """
    bytearray(KEPT_BYTES // 2)  # and gone
