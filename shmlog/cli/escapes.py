"""Escapes in arguments: what people write for a tab or a line end."""

from __future__ import annotations

import os
import re

import click

_NAMED = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"0": b"\0", b"\\": b"\\"}
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.|$)", re.DOTALL)


def unescape(text: str) -> bytes:
    r"""The bytes of an argument in which \t \n \r \0 \\ and \xHH stand for what they mean."""

    def meaning(match: re.Match[bytes]) -> bytes:
        code = match.group(1)
        if code in _NAMED:
            return _NAMED[code]
        if len(code) == 3:
            return bytes([int(code[1:], 16)])
        raise click.UsageError(rf"{text!r}: there is no escape \{os.fsdecode(code)}; known are \t \n \r \0 \\ \xHH")

    return _ESCAPE.sub(meaning, os.fsencode(text))
