"""The compiled core: atomics, lanes, the ring, doorbells, checksums and the batch codec.

Each module is a `.pyx` with its types in a `.pyi`; what they share is in `access.h` (every shared access) and
`layout.h` (every offset).
"""
