"""The modes that files of the build get from the umask."""

import os
import tempfile


def mode():
    with tempfile.TemporaryDirectory() as folder:
        os.close(os.open(f"{folder}/file", os.O_CREAT, 0o666))
        return os.stat(f"{folder}/file").st_mode & 0o777
