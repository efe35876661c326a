"""Stands in for pip below dh_virtualenv: puts the finished Tree into the venv, and nothing else.

usage: lay.py install … -r REQUIREMENTS   as dh_virtualenv calls its --pip-tool, with the venv's Python
       lay.py settle VENV                 afterwards: brings the scripts, takes back what dh_virtualenv changed or added

The Tree lies below $TREE as from "/"; it was installed, compiled and hashed before. Nothing is fetched.
"""

import filecmp
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def main(arguments):
    if arguments[0] == "install":
        venv = Path(sys.prefix)
        check(tree_of(venv), Path(arguments[arguments.index("-r") + 1]))
        # All at once, but for bin: dh_virtualenv would edit each script, and still opens bin/activate*, which it made.
        # settle brings the scripts. Owners are the package's.
        options = ("--recursive", "--no-dereference", "--preserve=mode,timestamps", "--remove-destination")
        parts = sorted(part for part in tree_of(venv).iterdir() if part.name != "bin")
        subprocess.run(["cp", *options, *parts, venv], check=True)
    elif arguments[0] == "settle" and len(arguments) == 2:
        venv = Path(arguments[1]).absolute()
        remove_others(tree_of(venv), venv)
        restore(tree_of(venv), venv)
    else:
        sys.exit(__doc__)


def tree_of(venv):
    """The venv's place in the Tree: both end in /opt/venvs/<name>."""
    return Path(os.environ["TREE"], *venv.parts[-3:])


def check(tree, requirements):
    """A Tree without one of the locked distributions must never become a package."""
    locked = {line.split()[0] for line in requirements.read_text(encoding="utf-8").splitlines()}
    sites = [str(site) for site in tree.glob("lib/*/site-packages")]
    found = {f"{normal(one.metadata['Name'])}=={one.version}" for one in metadata.distributions(path=sites)}
    if found != locked:
        sys.exit(f"the Tree does not hold the locked set: {sorted(found ^ locked)}")


def normal(name):
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def restore(tree, venv):
    for folder, folders, names in os.walk(tree):
        ours, theirs = Path(folder), venv / Path(folder).relative_to(tree)
        if theirs.is_symlink() or not theirs.is_dir():
            discard(theirs)
            theirs.mkdir()
        theirs.chmod(0o755)
        for name in names + [name for name in folders if (ours / name).is_symlink()]:
            if not same(ours / name, theirs / name):
                discard(theirs / name)
                shutil.copy2(ours / name, theirs / name, follow_symlinks=False)


def same(ours, theirs):
    if ours.is_symlink() or theirs.is_symlink() or not theirs.is_file():
        return ours.is_symlink() and theirs.is_symlink() and ours.readlink() == theirs.readlink()
    return ours.stat().st_mode == theirs.stat().st_mode and filecmp.cmp(ours, theirs)


def remove_others(tree, venv):
    for folder, folders, names in os.walk(venv, topdown=False):
        for name in folders + names:
            theirs = Path(folder, name)
            if not os.path.lexists(tree / theirs.relative_to(venv)):
                discard(theirs)


def discard(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


main(sys.argv[1:] or [""])
