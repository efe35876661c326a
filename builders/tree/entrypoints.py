"""Says which console scripts cannot start, in the environment whose Python runs this.

usage: entrypoints.py NAME=MODULE:ATTRIBUTE...     prints {NAME: reason} as JSON

A module may refuse to be imported here for reasons of this place (no configuration, no database, no system
library): only what would be wrong everywhere counts, a module that is not installed and an attribute that
is not there. Runs on CPython from 3.8.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import json
import os
import sys


def problem(module, attribute):
    """Why *attribute* of *module* cannot be called, or ""."""
    try:
        found = importlib.import_module(module)
    except importlib.metadata.PackageNotFoundError as error:  # a kind of ModuleNotFoundError, and misleading as one
        return f"it asks for the version of {error.name}, which is not installed"
    except ModuleNotFoundError as error:
        return f"no module named {error.name}"
    except (Exception, SystemExit):  # noqa: BLE001 - code of others: whatever it raises is about this place
        return ""
    try:
        called = functools.reduce(getattr, attribute.split("."), found)
    except AttributeError:
        return f"the module {module} has no {attribute}"
    return "" if callable(called) else f"{module}:{attribute} cannot be called"


def main(scripts):
    """Print what is wrong with *scripts*; what the modules print while they are imported goes to stderr."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    problems = {}
    with contextlib.redirect_stdout(sys.stderr):
        for script in scripts:
            name, _, reference = script.partition("=")
            why = problem(*reference.split(":"))
            if why:
                problems[name] = why
    json.dump(problems, answer)
    answer.flush()
    # Threads and exit handlers of the imported modules are not our business.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
