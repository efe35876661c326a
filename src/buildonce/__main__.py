"""``python -m buildonce`` is the ``release`` command."""

from buildonce.cli import main

if __name__ == "__main__":
    main()
