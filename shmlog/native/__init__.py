"""The compiled core: atomics, lanes, the ring, doorbells, checksums and the batch codec.

Each module is a `.pyx` with its types in a `.pyi`; what they share is in `access.h` (every shared access) and
`layout.h` (every offset).
"""

from __future__ import annotations

try:
    import shmlog.native.checksum  # noqa: F401  (any of the modules: they are compiled together)
except ModuleNotFoundError as error:
    raise ImportError(
        f"the shmlog in {__path__[0]} is not compiled: it is a checkout, found before the installed package because it"
        " is in the current directory. Run Python somewhere else, or with -P, or compile the checkout:"
        " pip install -e ."
    ) from error
