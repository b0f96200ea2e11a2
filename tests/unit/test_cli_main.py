"""What every command has in common: exit codes, errors on one line, nothing loaded that is not needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from shmlog.cli import main as cli
from shmlog.cli.root import COMMANDS, root
from shmlog.errors import RecordTooLargeError
from shmlog.testing.processes import killed_afterwards


def run_failing(error: BaseException) -> int:
    @click.command()
    def command() -> None:
        raise error

    return cli.run([], lambda: command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Usage: shmlog" in shown
    loaded = root.get_command(click.Context(root), command)
    if not isinstance(loaded, click.Group):
        assert "Examples:" in shown
        return
    assert "..." not in shown.partition("Commands:")[2], "a summary that is cut off"
    for name in loaded.commands:
        assert cli.run([command, name, "--help"]) == 0
        assert "Examples:" in capsys.readouterr().out, name


def test_help_loads_neither_rich_nor_numpy_nor_the_library() -> None:
    script = (
        "import sys, shmlog.cli.main as m; m.run(['--help']);"
        "print([n for n in ('rich', 'numpy', 'psutil', 'shmlog.client.cluster') if n in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


def test_an_unknown_command_is_answered_with_the_closest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["tpic"]) == 2
    assert capsys.readouterr().err == "error: there is no command 'tpic'; did you mean 'topic'? (see shmlog --help)\n"


def test_a_wrong_option_is_a_usage_error_that_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["topic", "create", "--parttions", "3", "x"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.endswith("(see shmlog topic create --help)\n")
    assert error.count("\n") == 1


def test_an_error_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(RecordTooLargeError("a record of 9 bytes\nis larger than 8")) == 1
    assert capsys.readouterr().err == "error: a record of 9 bytes is larger than 8\n"


def test_an_error_of_the_kernel_is_said_in_words_with_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(PermissionError(13, "Permission denied", "/orders")) == 1
    assert run_failing(TimeoutError("waited 5 s for the topic")) == 1
    assert capsys.readouterr().err == "error: /orders: Permission denied\nerror: waited 5 s for the topic\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("characters", [10, 1_000_000])
def test_an_output_that_takes_nothing_is_named(characters: int, unbuffered: str) -> None:
    done = run_printing(characters, ">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device\n")


def test_who_closes_the_output_gets_none() -> None:
    done = run_printing(10, ">&-")
    assert (done.returncode, done.stderr) == (0, "")


def run_printing(characters: int, redirection: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = (
        "import sys, click, shmlog.cli.main as m\n"
        "@click.command()\n"
        f"def speak(): click.echo('x' * {characters})\n"
        "sys.argv = ['speak']; m.main(lambda: speak)"
    )
    command = ["sh", "-c", f'exec "$0" -P -c "$1" {redirection}', sys.executable, script]
    return subprocess.run(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}, timeout=60, check=False
    )


def test_the_package_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "shmlog", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("shmlog ")


@pytest.mark.parametrize("arguments", [["down", "--timeout", "-1"], ["top", "--interval", "inf"]])
def test_a_time_that_cannot_be_waited_for_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    assert "is not in the range" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def test_a_bug_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_failing(ZeroDivisionError())


def test_a_reader_that_leaves_is_no_error() -> None:
    script = (
        "import sys, click, shmlog.cli.main as m\n"
        "@click.command()\n"
        "def flood():\n"
        "    while True: sys.stdout.write('x' * 65536)\n"
        "sys.exit(m.run([], lambda: flood))"
    )
    with killed_afterwards(
        subprocess.Popen([sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.read(10)
        writer.stdout.close()
        assert writer.wait(timeout=30) == 141
        assert writer.stderr.read() == b""
        writer.stderr.close()


def test_without_a_cluster_the_error_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(tmp_path))
    assert cli.run(["status", "--name", "nobody"]) == 1
    error = capsys.readouterr().err
    assert "nobody" in error
    assert "shmlog up" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_for_our_name(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["completion", shell]) == 0
    assert cli.COMPLETION_VARIABLE in capsys.readouterr().out
