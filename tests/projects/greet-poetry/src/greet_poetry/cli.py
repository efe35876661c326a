"""The command."""

import sys

from greet_poetry import greeting


def main() -> None:
    """Greet whoever is named."""
    sys.stdout.write(greeting(" ".join(sys.argv[1:]) or "world") + "\n")
