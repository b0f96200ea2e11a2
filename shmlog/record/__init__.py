"""The bytes of a batch: layout, the reference codec in plain Python, compression, and control markers.

The hot path is `native/records`; this package is what the metadata log, the dump tools and the tests read and write
with, and the oracle that the native codec is compared to.
"""
