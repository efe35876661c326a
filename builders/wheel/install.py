"""Installs the wheels that lie beside this file into a new virtual environment, and checks the result.

Started by install.sh. Needs the standard library only: no pip, no setuptools, no ensurepip, no network, no
compiler. Runs on every CPython from 3.8. The environment is made in a folder beside DEST and moved there when
it is complete, so that DEST is never half-written. What it lays at /opt/venvs/NAME is what the .deb and the
image of the same release hold there.

Formats: binary distribution format, installed projects, entry points (packaging.python.org); PEP 405.
"""

import argparse
import base64
import configparser
import csv
import hashlib
import io
import json
import os
import platform
import posixpath
import py_compile
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

FAILED, VERIFICATION = 1, 4
NOT_INSTALLED = (
    "INSTALLER",
    "REQUESTED",
    "direct_url.json",
)  # installers write these; a wheel must not bring them
ENTRY_POINT = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<attribute>[\w.]+)\s*(\[.*\])?$")
SCRIPT = """\
# -*- coding: utf-8 -*-
import re
import sys
from {module} import {name}
if __name__ == "__main__":
    sys.argv[0] = re.sub(r"(-script\\.pyw|\\.exe)?$", "", sys.argv[0])
    sys.exit({attribute}())
"""


class RefusedError(Exception):
    """Something the person who installs has to know about."""

    def __init__(self, message, code=FAILED):
        super().__init__(message)
        self.code = code


class Wheel:
    """One wheel: every member checked against RECORD, and where each is installed."""

    def __init__(self, path, sha256, prefix):
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise RefusedError(f"{path.name} was changed: its sha256 is not {sha256}", VERIFICATION)
        self.archive, self.name, self.prefix = zipfile.ZipFile(path), path.name, prefix
        self.rows = {}  # what it laid: {path: (hash, size)}
        self.members = [info for info in self.archive.infolist() if not info.is_dir()]
        names = [info.filename for info in self.members]
        self.info = next(n for n in names if re.fullmatch(r"[^/]+\.dist-info/WHEEL", n))[: -len("/WHEEL")]
        self.data = self.info[: -len("dist-info")] + "data"
        self.dist = re.sub(r"[-_.]+", "-", self.info[: -len(".dist-info")].rpartition("-")[0]).lower()
        record = io.StringIO(self.archive.read(f"{self.info}/RECORD").decode())
        self.record = {row[0]: row[1] for row in csv.reader(record) if row}

    def place(self, member):
        """Where *member* is installed, relative to the environment; and whether it is a script."""
        bases = {
            "purelib": site(),
            "platlib": site(),
            "scripts": "bin",
            "data": "",
            "headers": f"include/site/python{minor()}/{self.dist}",
        }
        scheme, path = "purelib", member
        if member.startswith(f"{self.data}/"):
            scheme, _, path = member[len(self.data) + 1 :].partition("/")
        if scheme not in bases or any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path:
            raise RefusedError(f"{self.name} holds {member}, which leads out of its place", VERIFICATION)
        return posixpath.join(bases[scheme], path), scheme == "scripts"

    def files(self):
        """(path, mode, bytes) of everything but RECORD, as installed."""
        for info in self.members:
            name = info.filename
            data = self.archive.read(info)
            if name == f"{self.info}/RECORD":
                continue
            if self.record.get(name) != digest(data) and not name.startswith(f"{self.info}/RECORD."):
                raise RefusedError(f"{self.name} holds {name}, which its RECORD does not say", VERIFICATION)
            left_out = {f"{self.info}/{one}" for one in NOT_INSTALLED}
            if name in left_out or "__pycache__" in name.split("/")[:-1]:
                continue
            path, script = self.place(name)
            if script and data.startswith(b"#!python"):
                data = f"#!{self.prefix}/bin/python\n".encode() + data.partition(b"\n")[2]
            executable = script or (info.external_attr >> 16) & 0o111
            yield path, 0o755 if executable else 0o644, data
        for name, module, attribute in self.entry_points():
            code = SCRIPT.format(module=module, name=attribute.split(".")[0], attribute=attribute)
            yield f"bin/{name}", 0o755, shebang(f"{self.prefix}/bin/python") + code.encode()
        yield f"{site()}/{self.info}/INSTALLER", 0o644, b"buildonce\n"

    def entry_points(self):
        """The console and GUI scripts that are made at installation."""
        if f"{self.info}/entry_points.txt" not in self.record:
            return
        parser = configparser.ConfigParser(delimiters="=", strict=False, interpolation=None)
        parser.optionxform = str
        parser.read_string(self.archive.read(f"{self.info}/entry_points.txt").decode())
        for section in ("console_scripts", "gui_scripts"):
            for name, value in parser.items(section) if parser.has_section(section) else ():
                match = ENTRY_POINT.match(value)
                if match is None or "/" in name:
                    raise RefusedError(f"{self.name}: the script {name} names nothing that can be called", VERIFICATION)
                yield name, match["module"], match["attribute"]


def minor():
    """The interpreter's version as folders have it."""
    return "{}.{}".format(*sys.version_info[:2])


def site():
    """Where modules are, relative to the environment."""
    return f"lib/python{minor()}/site-packages"


def digest(data):
    """A hash as RECORD spells it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def shebang(interpreter):
    """The first line of a script; through sh when the kernel could not read it (a space, over 127 bytes)."""
    if " " not in interpreter and len(interpreter.encode()) <= 124:
        return f"#!{interpreter}\n".encode()
    return f"#!/bin/sh\n'''exec' {shlex.quote(interpreter)} \"$0\" \"$@\"\n' '''\n".encode()


def environment():
    """(path, mode, bytes, link) of the environment itself."""
    interpreter = Path(sys.executable).resolve()
    text = "home = {}\ninclude-system-site-packages = false\nversion = {}\n"
    yield "pyvenv.cfg", 0o644, text.format(interpreter.parent, platform.python_version()).encode(), ""
    yield "bin/python", 0o777, b"", str(interpreter)
    yield "bin/python3", 0o777, b"", "python"
    yield f"bin/python{minor()}", 0o777, b"", "python"


def put(into, path, mode, data):
    """Write one file; two wheels must not own the same."""
    place = into / path
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with place.open("xb") as out:
            out.write(data)
    except FileExistsError:
        raise RefusedError(f"two wheels install {path}", VERIFICATION) from None
    place.chmod(mode)


def lay(wheels, into):
    """Lay everything; answers {path: hash}. With *into* None nothing is written: what would be laid."""
    laid = {}
    for path, mode, data, link in environment():
        laid[path] = f"-> {link}" if link else digest(data)
        if into and link:
            (into / "bin").mkdir(exist_ok=True)
            (into / path).symlink_to(link)
        elif into:
            put(into, path, mode, data)
    for wheel in wheels:
        rows = {}
        for path, mode, data in wheel.files():
            rows[path] = (digest(data), len(data))
            if into:
                put(into, path, mode, data)
        laid.update({path: row[0] for path, row in rows.items()})
        wheel.rows = rows
    return laid


def byte_compile(wheels, into, prefix):
    """Compile every module for its final path, as PEP 552 unchecked-hash: no time in it."""
    warnings.simplefilter("ignore")
    for wheel in wheels:
        for path in sorted(p for p in wheel.rows if p.endswith(".py")):
            try:
                made = py_compile.compile(
                    str(into / path),
                    dfile=str(prefix / path),
                    doraise=True,
                    optimize=0,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
            except (py_compile.PyCompileError, RecursionError):  # templates, sources for other Pythons
                continue
            Path(made).chmod(0o644)
            data = Path(made).read_bytes()
            wheel.rows[Path(made).relative_to(into).as_posix()] = (digest(data), len(data))


def write_records(wheels, into):
    """RECORD of every distribution: all that it owns, sorted."""
    for wheel in wheels:
        own = f"{site()}/{wheel.info}/RECORD"
        rows = {posixpath.relpath(path, site()): row for path, row in wheel.rows.items()}
        rows[posixpath.relpath(own, site())] = ("", "")
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([path, *rows[path]] for path in sorted(rows))
        put(into, own, 0o644, out.getvalue().encode())


def holds(root):
    """{path: hash} of everything below *root*."""
    found = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            found[path.relative_to(root).as_posix()] = f"-> {os.readlink(str(path))}"  # noqa: PTH115 - pathlib has it from Python 3.9
        elif path.is_file():
            found[path.relative_to(root).as_posix()] = digest(path.read_bytes())
    return found


def differences(expected, root, wheels):
    """What below *root* is not as it was laid: changed, missing, against RECORD, or owned by nobody."""
    found = holds(root)
    recorded = {f"{site()}/{wheel.info}/RECORD": "" for wheel in wheels}
    for path in sorted(recorded.keys() & found.keys()):
        with (root / path).open(newline="") as stream:
            recorded.update({posixpath.normpath(posixpath.join(site(), row[0])): row[1] for row in csv.reader(stream)})
    yield from (f"{p} is missing" for p in sorted({**recorded, **expected}.keys() - found.keys()))
    for path, said in sorted(found.items()):
        if path not in expected and path not in recorded:
            yield f"{path} belongs to nothing"
        elif said != expected.get(path, said) or said != (recorded.get(path) or said):
            yield f"{path} was changed"


def check_host(facts):
    """Refuse a host that the wheels are not for."""
    if minor() != facts["python"]:
        raise RefusedError(
            f"these wheels are for Python {facts['python']}, {sys.executable} is {platform.python_version()}"
        )
    if facts["machine"] and platform.machine() != facts["machine"]:
        raise RefusedError(f"these wheels are for {facts['machine']}, this host is {platform.machine()}")
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    if facts["glibc"] and (name != "glibc" or [int(n) for n in version.split(".")[:2]] < facts["glibc"]):
        wanted = ".".join(map(str, facts["glibc"]))
        has = f"{name or 'another C library'} {version}".strip()
        raise RefusedError(f"these wheels need glibc {wanted} ({facts['target']}), this host has {has}")


def check_start(facts, dest):
    """Start the environment's interpreter and see that it finds the application."""
    code = f"import importlib.metadata as m; print(m.version({facts['name']!r}))"
    said = subprocess.run([f"{dest}/bin/python", "-I", "-B", "-c", code], stdout=subprocess.PIPE, check=False)
    if said.returncode or said.stdout.decode().strip() != facts["version"]:
        raise RefusedError(f"{dest}/bin/python does not find {facts['name']} {facts['version']}")
    lost = [name for name in facts["scripts"] if not os.access(f"{dest}/bin/{name}", os.X_OK)]
    if lost:
        raise RefusedError(f"the commands {', '.join(lost)} are missing", VERIFICATION)


def is_there(wheels, dest):
    """Whether *dest* holds this release and nothing else (bytecode that a run left behind is nothing)."""
    wrong = differences(lay(wheels, None), dest, wheels)
    return not [line for line in wrong if not ("/__pycache__/" in line and line.endswith("belongs to nothing"))]


def install(facts, here, dest, compiles):
    """Make the environment *dest*; answers what to tell."""
    wheels = [Wheel(here / "wheels" / one["file"], one["sha256"], dest) for one in facts["wheels"]]
    if dest.is_symlink() or (dest.exists() and not dest.is_dir()):
        raise RefusedError(f"{dest} is not a folder")
    if dest.is_dir() and any(dest.iterdir()):
        if not is_there(wheels, dest):
            raise RefusedError(f"{dest} is not empty and not this release; name another folder or remove it")
        check_start(facts, dest)
        return "is installed already"
    dest.parent.mkdir(parents=True, exist_ok=True)
    made = dest.parent / f".{dest.name}.{os.getpid()}"
    try:
        made.mkdir()
        expected = lay(wheels, made)
        if compiles:
            byte_compile(wheels, made, dest)
        write_records(wheels, made)
        wrong = list(differences(expected, made, wheels))
        if wrong:
            raise RefusedError("what was written is not what was meant: " + "; ".join(wrong[:5]), VERIFICATION)
        made.rename(dest)
        made = dest
        check_start(facts, dest)
        made = None
    finally:
        if made is not None:
            shutil.rmtree(str(made), ignore_errors=True)
    return "is installed"


def main():
    """Parse, install, tell; the exit codes are those of release(1)."""
    parser = argparse.ArgumentParser(prog="install.sh", description="Install this release into the new folder DEST.")
    parser.add_argument("dest", metavar="DEST", help="the virtual environment to make")
    parser.add_argument("--no-compile", action="store_true", help="do not byte-compile (slower starts)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    os.umask(0o022)
    here = Path(__file__).resolve().parent
    # Absolute, but with the links of its parents: they are how people and units name the place.
    dest = Path(os.path.normpath(Path.cwd() / options.dest))
    try:
        facts = json.loads((here / "wheelhouse.json").read_text(encoding="utf-8"))
        check_host(facts)
        told = install(facts, here, dest, not options.no_compile)
    except RefusedError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except (OSError, zipfile.BadZipFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    print(f"{facts['name']} {facts['version']} {told} in {dest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
