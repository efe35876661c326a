"""``python -m buildonce`` is the ``release`` command."""

from buildonce.cli import main

main()
