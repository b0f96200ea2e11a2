"""A batch and a marker of Kafka's format that were worked out by hand: what every codec has to agree with.

Two records at offsets 100 and 101 by producer 7 in epoch 3, one with a header and one without a value; then the commit
of their transaction at offset 102.
"""

from __future__ import annotations

WORKED_BATCH = bytes.fromhex(
    "000000000000006400000049000000000236752d040000000000010000018bcfe568000000018bcfe568050000000000"
    "000007000300000000000000021c000000046b31047631020268027810000a02046b320100"
)
WORKED_MARKER = bytes.fromhex(
    "0000000000000066000000420000000002f602d8e10030000000000000018bcfe5680a0000018bcfe5680a0000000000"
    "0000070003ffffffff000000012000000008000000010c00000000000500"
)
