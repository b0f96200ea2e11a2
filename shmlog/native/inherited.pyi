"""Memory that forked processes inherit, and give back where they left it as it was. The method is in inherited.h."""

def keep() -> int:
    """From now on, what private memory holds is what this process and those that it forks can go back to.

    Costs one copy of that memory, which all of them share. Returns its size in bytes. Once per process, with one
    thread. Raises OSError; nothing has changed then.
    """

def give_back() -> int:
    """Drop private copies of pages that hold the same bytes as when keep() was called; returns how many bytes.

    No byte changes. Does nothing in a process without keep(). Raises BlockingIOError while the
    process has other threads, OSError if /proc does not say which pages are copies.
    """
