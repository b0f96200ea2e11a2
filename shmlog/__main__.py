"""`python -m shmlog` is the command `shmlog`."""

from __future__ import annotations

from shmlog.cli.main import main

if __name__ == "__main__":
    main()
