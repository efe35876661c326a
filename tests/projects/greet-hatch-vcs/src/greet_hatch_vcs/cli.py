"""The command."""

import sys

from greet_hatch_vcs import greeting


def main() -> None:
    """Greet whoever is named."""
    sys.stdout.write(greeting(" ".join(sys.argv[1:]) or "world") + "\n")
