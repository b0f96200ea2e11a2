"""The picture of README.md: `python tools/demo_picture.py` runs the demo, and draws what a terminal shows then.

It writes .github/demo.svg, or the file that is given. The demo is the installed one, in a pseudo-terminal of its own,
so the picture has the figures of this machine; run it while nothing else is busy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / ".github" / "demo.svg"
ARGUMENTS = ("demo", "--kill-owner")
COLUMNS, ROWS = 116, 50  # the demo's longest line fits; and all that it draws again in place
CONTROL = re.compile(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)")


def run(command: list[str]) -> str:
    """All that `command` writes to a terminal. Raises CalledProcessError if it fails."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = bytearray()
        while piece := _read(ours):
            written += piece
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, written.decode())
    return written.decode()


def _read(terminal: int) -> bytes:
    """What comes next; nothing when nobody has the other side open any more."""
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def shown(written: str) -> list[str]:
    """The lines that are there in the end, colours included, after `written` has gone up and erased lines to draw
    them again. Knows what rich's live displays do, and nothing else of a terminal."""
    lines, row = [""], 0
    for piece in CONTROL.split(written):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece.endswith("A") and piece.startswith("\x1b["):
            row -= int(piece[2:-1] or 1)
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif piece != "\r" and not piece.startswith("\x1b[?"):
            lines[row] += piece
    return lines[: max((number + 1 for number, line in enumerate(lines) if line), default=0)]


def draw(title: str, lines: list[str], picture: Path) -> None:
    """An SVG picture of a terminal with these lines."""
    from rich.console import Console
    from rich.text import Text

    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.assemble(("$ ", "bold green"), title))
        for line in lines:
            console.print(Text.from_ansi(line.replace("\x1b[0m\x1b[1m", "")))  # neighbours of one style are one text
    svg = console.export_svg(title="shmlog demo", font_aspect_ratio=0.61, unique_id="shmlog-demo")
    without_download = re.sub(r" *@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    picture.write_text(without_download.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas"))


def main() -> None:
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    written = run([str(Path(sys.executable).with_name("shmlog")), *ARGUMENTS])
    draw(" ".join(["shmlog", *ARGUMENTS]), shown(written), picture)
    print(f"{picture}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
