"""Calls one build hook of the project in the current folder, with the backend that is installed in this environment.

Runs inside the build root, started by buildonce.buildenv as `/build/env/bin/python -I hook.py HOOK`. The
result is one JSON value on stdout; everything that the backend says goes to stderr.

The front end (pypa/build) lies in a folder of its own, so that it cannot satisfy or disturb what the backend
imports: the backend runs in another process that does not know the folder.
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

OUT = "/build/out"
FRONTEND = "/build/frontend"

# No debug information and no build path in object code.
REPRODUCIBLE = "-g0 -ffile-prefix-map=/build=."


def compiler_environment():
    """CFLAGS and CXXFLAGS: what this Python was compiled with, and ours.

    Trap: setuptools takes CFLAGS *instead of* the interpreter's own, so that a short value would lose -O2.
    """
    flags = " ".join(f"{sysconfig.get_config_var('CFLAGS') or ''} {REPRODUCIBLE}".split())
    return {name: f"{flags} {os.environ.get(name, '')}".strip() for name in ("CFLAGS", "CXXFLAGS")}


def run_quietly(cmd, cwd=None, extra_environ=None):
    """Run the backend's process; its stdout must not mix with the result."""
    environment = {**os.environ, **compiler_environment(), **(extra_environ or {})}
    subprocess.run(cmd, cwd=cwd, env=environment, stdout=sys.stderr, check=True)


def requires(builder, distribution):
    """What the backend wants beside build-system.requires."""
    return sorted(builder.get_requires_for_build(distribution))


def built(builder, distribution):
    """The file name of what was built into /build/out."""
    return Path(builder.build(distribution, OUT)).name


HOOKS = {
    "requires_for_wheel": lambda builder: requires(builder, "wheel"),
    "requires_for_sdist": lambda builder: requires(builder, "sdist"),
    "wheel": lambda builder: built(builder, "wheel"),
    "sdist": lambda builder: built(builder, "sdist"),
}


def missing(builder, hook):
    """Requirements that this environment lacks; asked only after a failure, as asking costs a process."""
    try:
        return sorted(chain[-1] for chain in builder.check_dependencies("sdist" if hook.endswith("sdist") else "wheel"))
    except Exception:  # noqa: BLE001 - the failure itself is what counts
        return []


def main(hook):
    """Answer the exit code: 3 when the environment lacks a requirement, 1 for every other failure."""
    sys.path.append(FRONTEND)
    from build import BuildBackendException, BuildException, ProjectBuilder

    try:
        builder = ProjectBuilder(Path.cwd(), runner=run_quietly)
        print(json.dumps(HOOKS[hook](builder)))
    except BuildBackendException as error:
        lacking = missing(builder, hook)
        if lacking:
            print("missing build requirements:", "; ".join(lacking), file=sys.stderr)
            return 3
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BuildException as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
