"""What a forked process changed and changed back is shared again; nothing that it changed is lost."""

from __future__ import annotations

import subprocess
import sys
import textwrap

COMMON = """
    import mmap, os, sys, threading
    from shmlog.native import inherited

    PAGE, PAGES = 4096, 64

    def pages_of(content):
        memory = mmap.mmap(-1, PAGE * PAGES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory[:] = content
        return memory

    content = b"".join(bytes([number + 1]) * PAGE for number in range(PAGES))
    memory = pages_of(content)
    kept_bytes = inherited.keep()
    assert kept_bytes > PAGE * PAGES
"""


def run(script: str) -> None:
    """In a process of its own: keep() is once and for all."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(COMMON) + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_pages_that_are_as_they_were_are_given_back_and_others_keep_what_was_written() -> None:
    run("""
        if (child := os.fork()) == 0:
            inherited.give_back()
            for page in range(PAGES):
                memory[page * PAGE] = 255
            for page in range(0, PAGES, 2):
                memory[page * PAGE] = page + 1
            given_bytes = inherited.give_back()
            assert PAGES // 2 * PAGE <= given_bytes < PAGES * PAGE, given_bytes
            changed = [page for page in range(PAGES) if memory[page * PAGE] == 255]
            assert changed == list(range(1, PAGES, 2)), changed
            for page in changed:
                memory[page * PAGE] = page + 1
            assert memory[:] == content
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert memory[:] == content
    """)


def test_memory_that_was_not_kept_is_left_alone_even_if_it_equals_what_was_kept() -> None:
    """Such as memory where kept memory was unmapped; there is nothing behind it, and dropped it would be zeros."""
    run("""
        with open("/proc/self/maps") as maps:
            image = next(line for line in maps if "shmlog-inherited" in line and "r--p" in line)
        with open("/proc/self/mem", "rb", buffering=0) as own:
            own.seek(int(image.split("-")[0], 16))
            kept = own.read(PAGE * PAGES)
        assert kept.count(0) < len(kept)
        again = pages_of(kept)
        inherited.give_back()
        assert again[:] == kept
    """)


def test_with_other_threads_nothing_is_given_back() -> None:
    run("""
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        try:
            inherited.give_back()
        except BlockingIOError:
            done.set()
            thread.join()
        else:
            sys.exit("gave back beside another thread")
    """)


def test_a_process_that_kept_nothing_gives_nothing_back() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from shmlog.native import inherited; assert inherited.give_back() == 0"],
        check=False,
    )
    assert done.returncode == 0
