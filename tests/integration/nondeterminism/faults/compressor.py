"""Another level of compression, as the machine's settings say."""

import os

LEVEL = int(os.environ.get("COMPRESSION_LEVEL", "6"))
