"""Prints what a build step can notice, outside and inside the build root: ``look.py PROBE FOLDER ROOT``."""

import json
import runpy
import sys
from pathlib import Path, PurePosixPath

from buildonce import buildroot
from buildonce.model import Bind, Command
from buildonce.system.run import HostRunner

probe, folder, root = sys.argv[1:]
sys.argv = [probe, folder]
runpy.run_path(probe)
inside = buildroot.RootRunner(Path(root), HostRunner()).run(
    Command(
        argv=("python3.11", "/build/probe.py", "/usr/share/perl/5.36"),
        binds=(Bind(source=Path(probe), target=PurePosixPath("/build/probe.py")),),
        capture=True,
    )
)
print(json.dumps(json.loads(inside.stdout)))
