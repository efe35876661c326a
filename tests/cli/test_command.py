"""The command as a whole: help, usage, and how an error looks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

from buildonce import planning
from buildonce.cli import COMMANDS
from buildonce.errors import BuildError, LockError, Problem, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended
    from tests.conftest import Repository

HEAVY = ("cryptography", "cyclonedx", "httpx", "packaging", "pydantic", "rich", "securesystemslib", "tomlkit")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["biuld"], ["completion", "bash"]])
def test_quick_answers_load_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom buildonce import cli\n"
        "try:\n    cli.main(sys.argv[1:])\n"
        f"finally:\n    print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_says_the_same_there(release: Callable[..., Ended], name: str) -> None:
    ended = release(name, "--help")
    assert ended.code == 0
    assert ended.stdout.startswith(f"Usage: release {name}")
    assert "..." not in ended.stdout.splitlines()[2]


def test_help_lists_all_commands(release: Callable[..., Ended]) -> None:
    ended = release("-h")
    assert ended.code == 0
    assert [line.split()[0] for line in ended.stdout.partition("Commands:\n")[2].splitlines() if line[2] != " "] == [
        *COMMANDS
    ]


def test_version(release: Callable[..., Ended]) -> None:
    assert release("--version").stdout.startswith("release (buildonce) ")


def test_no_arguments_show_the_help(release: Callable[..., Ended]) -> None:
    ended = release()
    assert "Commands:" in ended.stdout + ended.stderr
    assert "error:" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["biuld"], "no such command 'biuld'", "did you mean 'build'?"),
        (["frobnicate"], "no such command 'frobnicate'", f"there are {', '.join(COMMANDS)}"),
        (["key", "nwe"], "no such command 'nwe'", "release key --help"),
        (["build", "--jsn"], "no such option '--jsn'", "release build --help"),
        (["--jsn"], "no such option '--jsn'", "release --help"),
        (["verify"], "missing argument 'DIR'", "release verify --help"),
        (["build", "--format", "rpm"], "invalid value for '--format'", "release build --help"),
        (["completion", "tcsh"], "invalid value", "release completion --help"),
    ],
)
def test_usage(release: Callable[..., Ended], arguments: list[str], message: str, hint: str) -> None:
    ended = release(*arguments)
    assert ended.code == 2
    assert ended.stdout == ""
    assert (
        ended.stderr.lower()
        .replace("no such option: --jsn", "no such option '--jsn'")
        .startswith(f"error: {message.lower()}")
    )
    assert ended.stderr.endswith(f"hint: {hint}\n")


def test_usage_as_json(release: Callable[..., Ended]) -> None:
    ended = release("build", "--format", "rpm", "--json")
    assert ended.code == 2
    assert ended.data["error"]["exit_code"] == 2
    assert "rpm" in ended.data["error"]["problems"][0]["message"]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(planning, "make", fail)


def test_an_error_says_what_where_and_the_next_step(
    release: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = (
        Problem(message="no sha256", where="pylock.toml", hint="release lock"),
        Problem(message="no size", where="pylock.toml"),
    )
    failing(monkeypatch, LockError.of(problems))
    ended = release("plan")
    assert ended.code == 3
    assert ended.stdout == ""
    assert ended.stderr == (
        "error: no sha256\n   in: pylock.toml\nhint: release lock\n  and: no size\n   in: pylock.toml\n"
    )
    as_json = release("plan", "--json")
    assert as_json.code == 3
    assert as_json.data == {
        "error": {
            "exit_code": 3,
            "problems": [
                {"message": "no sha256", "where": "pylock.toml", "hint": "release lock"},
                {"message": "no size", "where": "pylock.toml", "hint": ""},
            ],
        }
    }


def test_an_error_shows_the_end_of_the_log(release: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, BuildError("it failed", log="one\nerror: two\n", log_path="/store/logs/x.log", hint="try"))
    ended = release("plan")
    assert ended.code == 1
    assert ended.stderr == "  | one\n  | error: two\nerror: it failed\n  log: /store/logs/x.log\nhint: try\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (VerificationError("other bytes"), 4, "other bytes"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full"),
        (OSError(errno.EACCES, "Permission denied", "/srv/x"), 1, "this must not be read or written here"),
        (OSError(errno.EIO, "Input/output error", "/srv/x"), 1, "Input/output error"),
        (KeyError("x"), 1, "this is a bug in buildonce: KeyError: 'x'"),
    ],
)
def test_exit_codes(
    release: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, message: str
) -> None:
    failing(monkeypatch, error)
    ended = release("plan")
    assert ended.code == code
    assert ended.stderr.startswith(f"error: {message}")
    assert "Traceback" not in ended.stderr
    assert "Traceback" in release("plan", "-vv").stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupted(release: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    failing(monkeypatch, error)
    ended = release("plan")
    assert (ended.code, ended.stderr.lstrip()) == (130, "interrupted: nothing was left half-written\n")


def test_colour_only_on_a_terminal_that_wants_it(repository: Repository) -> None:
    """Told by a real terminal: without one there is never any."""
    code = (
        "import os, pty, sys\n"
        "pid, fd = pty.fork()\n"
        "if pid == 0:\n    os.execv(sys.executable, [sys.executable, '-m', 'buildonce', *sys.argv[1:]])\n"
        "said = b''\n"
        "while True:\n"
        "    try:\n        part = os.read(fd, 4096)\n    except OSError:\n        break\n"
        "    if not part:\n        break\n"
        "    said += part\n"
        "sys.stdout.buffer.write(said)\n"
    )

    def said(*arguments: str, **environment: str) -> str:
        here = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        done = subprocess.run(
            [sys.executable, "-c", code, "plan", *arguments],
            cwd=repository.root,
            env={**here, "TERM": "xterm", **environment},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    assert "\x1b[31m" in said()
    assert "\x1b[3" not in said("--no-color")
    assert "\x1b[3" not in said(NO_COLOR="1")
    assert "error:" in said(NO_COLOR="1")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(release: Callable[..., Ended], shell: str) -> None:
    ended = release("completion", shell)
    assert ended.code == 0
    assert "_RELEASE_COMPLETE" in ended.stdout


def test_completion_offers_commands_and_options(tmp_path: Path) -> None:
    environment = {**os.environ, "_RELEASE_COMPLETE": "bash_complete", "COMP_WORDS": "release pl", "COMP_CWORD": "1"}
    program = "from buildonce.cli import command; command.main(prog_name='release')"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["plain,plan"]


def test_json_is_one_document(release: Callable[..., Ended], repository: Repository) -> None:
    for arguments in (["doctor"], ["plan"], ["verify", "."], ["key", "show", "nobody"]):
        ended = release(*arguments, "--json", "-C", str(repository.root))
        json.loads(ended.stdout)


@pytest.mark.parametrize(
    ("words", "names"),
    [("release build --target ", ["corporate-12", "debian-13"]), ("release build --target corp", ["corporate-12"])],
)
def test_the_names_of_targets_are_completed(tmp_path: Path, words: str, names: list[str]) -> None:
    (tmp_path / "pyproject.toml").write_text(
        """[project]
        name = "orders"
        version = "1"
        [tool.release.targets.corporate-12]
        like = "debian-12"
        [tool.release.targets.debian-13]
        """
    )
    assert completed(words, tmp_path) == names


def test_without_a_project_the_shipped_targets_are_completed(tmp_path: Path) -> None:
    assert {"debian-12", "debian-13"} <= set(completed("release build --target ", tmp_path))
    assert completed("release build --target windows", tmp_path) == []


def completed(words: str, folder: Path) -> list[str]:
    """What the shell is told when the last of *words* is completed in *folder*."""
    asked = {"_RELEASE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", "from buildonce.cli import command; command(prog_name='release')"],
        cwd=folder,
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.partition(",")[2] for line in done.stdout.split()]
