"""Starts the host program: ``python3 host.pyz STEP --name NAME``."""

import sys

from program import main

sys.exit(main(sys.argv[1:]))
