"""The ``beat`` command."""

import argparse
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

from beat.behaviour import FAULT
from beat.service import serve

VERSION = version("beat")


def main() -> None:
    """``beat serve`` or ``beat migrate``."""
    parser = argparse.ArgumentParser(prog="beat")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("command", choices=("serve", "migrate"))
    if parser.parse_args().command == "migrate":
        migrate()
        return
    if FAULT == "crash":
        sys.exit("beat: cannot go on")
    while FAULT == "hang":
        time.sleep(60)
    serve(
        "0.0.0.0",
        int(os.environ.get("BEAT_PORT", "8000")),
        "0.9.0" if FAULT == "impostor" else VERSION,
        healthy=FAULT != "unhealthy",
    )


def migrate() -> None:
    """Note that the data are those of this version."""
    if FAULT == "migration":
        sys.exit("beat: the data cannot be brought to this version")
    folder = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/beat"))
    with (folder / "migrations").open("a") as notes:
        notes.write(f"{VERSION}\n")
