"""The ``orders`` command."""

import argparse
from importlib.metadata import version

import uvicorn

from orders.app import make
from orders.database import connect, migrate
from orders.settings import from_environment


def main() -> None:
    """``orders serve`` or ``orders migrate``."""
    parser = argparse.ArgumentParser(prog="orders")
    parser.add_argument("--version", action="version", version=version("orders"))
    parser.add_argument("command", choices=("serve", "migrate"))
    command = parser.parse_args().command
    settings = from_environment()
    if command == "migrate":
        migrate(connect(settings.database_url))
    else:
        uvicorn.run(make(settings), host=settings.host, port=settings.port)
