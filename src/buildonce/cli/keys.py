"""Which key a command uses, and how its passphrase is asked for.

Never on the command line, where everybody can read it.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildonce.errors import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildonce.signing import Key
    from buildonce.system import System

__all__ = ["chosen_key", "home", "new_passphrase", "passphrase", "signer"]

_FILE = "RELEASE_KEY_PASSPHRASE_FILE"


def chosen_key(option: str | None) -> str:
    """``--key``, else RELEASE_KEY of the environment, else "": the configured key or this machine's own."""
    return option or os.environ.get("RELEASE_KEY", "")


def signer(root: Path, machine: System) -> Callable[[str], Key]:
    """What opens a signing key of the project in *root*: the one in a file, or for "" the one that signs releases.

    Each is opened, and its passphrase asked for, once and only when it is needed.
    """

    @functools.cache
    def key(chosen: str) -> Key:
        from buildonce import project, seal

        found = project.read(root)
        return seal.key(chosen or chosen_key(None), found, home=home(), passphrase=passphrase, system=machine)

    return key


def home() -> Path:
    """Where this user's keys are."""
    from platformdirs import user_config_path

    return user_config_path("buildonce") / "keys"


def passphrase() -> bytes:
    """The passphrase of the signing key: from the file that the environment names, or asked for."""
    place = os.environ.get(_FILE)
    if place:
        try:
            return Path(place).read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise ReleaseError(
                f"the file with the passphrase cannot be read: {error.strerror}",
                where=place,
                hint=f"{_FILE} has to name a file that you can read",
            ) from error
    if not sys.stdin.isatty():
        raise ReleaseError(
            "the signing key asks for a passphrase, and nobody is there to type it",
            hint=f"put it in a file that only you can read and name it in {_FILE}",
        )
    return str(click.prompt("Passphrase of the signing key", hide_input=True, err=True)).encode()


def new_passphrase() -> bytes:
    """A new passphrase, typed twice; or the file that the environment names."""
    if os.environ.get(_FILE) or not sys.stdin.isatty():
        return passphrase()
    return str(click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)).encode()
