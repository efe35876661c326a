"""Which key a command uses, and how its passphrase is asked for.

Never on the command line, where everybody can read it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from buildonce.errors import ReleaseError

__all__ = ["chosen_key", "home", "new_passphrase", "passphrase"]

_FILE = "RELEASE_KEY_PASSPHRASE_FILE"


def chosen_key(option: str | None) -> str:
    """``--key``, else RELEASE_KEY of the environment, else "": the configured key or this machine's own."""
    return option or os.environ.get("RELEASE_KEY", "")


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
