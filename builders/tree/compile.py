"""Byte-compiles the modules below a folder, in the target's interpreter, at their final place.

usage: compile.py FOLDER        prints the modules that do not compile

The result depends on the modules alone: files in sorted order, one process, no optimisation, no time of
modification (PEP 552, unchecked hash: a checked one would read every source again at every start). Runs on
every CPython from 3.8.
"""

import pathlib
import py_compile
import sys
import warnings

UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def compiled(path):
    """Whether *path* could be compiled; wheels hold templates and sources for other Pythons, which cannot."""
    try:
        py_compile.compile(path, doraise=True, optimize=0, invalidation_mode=UNCHECKED)
    except (py_compile.PyCompileError, RecursionError, MemoryError):
        return False
    return True


def main(folder):
    """Compile every module below *folder*."""
    warnings.simplefilter("ignore")
    for path in sorted(str(found) for found in pathlib.Path(folder).rglob("*.py") if found.is_file()):
        if not compiled(path):
            print("not compiled:", path)


if __name__ == "__main__":
    main(sys.argv[1])
