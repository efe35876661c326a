"""A real root: what Debian's own tools do in it, and that every user gets the same one."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from buildonce import buildroot
from buildonce import target as targets
from buildonce.buildroot import RootRunner
from buildonce.debs import deb, lock
from buildonce.errors import ReleaseError
from buildonce.model import Bind, Command, DebPin, Digest, RemoteFile
from buildonce.system.console import SilentProgress
from buildonce.system.run import HostRunner
from buildonce.system.store import Store
from tests.debs import making, users

if TYPE_CHECKING:
    from tests.buildroot.conftest import Made

_ENSURE = r"""
import json, sys
from pathlib import Path
from buildonce import buildroot, target
from buildonce.debs import lock
from buildonce.system.console import SilentProgress
from buildonce.system.store import Store
lockfile, store, *files = sys.argv[1:]
chosen = target.load("debian-12")
pins = lock.read(Path(lockfile), chosen)
paths = [Path(file) for file in files]
print(buildroot.ensure(chosen, pins, paths, Store(Path(store)), progress=SilentProgress()))
"""


def _listing(root: Path) -> dict[str, tuple[str, bool, str]]:
    found: dict[str, tuple[str, bool, str]] = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                content = str(path.readlink())
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                content = ""
            found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), status.st_nlink > 1, content)
    return found


@pytest.mark.integration
@pytest.mark.parametrize("user", ["", *users.OTHERS])
def test_every_user_makes_the_same_root_and_can_delete_it(made: Made, user: str) -> None:
    with users.common_folder() as folder:
        lock.write(folder / "debs.lock.toml", {made.target.name: made.pins}, {made.target.name: ""})
        store = folder / "store"
        arguments = (str(folder / "debs.lock.toml"), str(store), *map(str, made.files))
        root = Path(users.run(_ENSURE, *arguments, user=user, umask=0o077).strip())
        if os.geteuid() == 0 or not user:
            assert root.name == made.root.name == buildroot.key(made.target, made.pins)
            assert _listing(root) == _listing(made.root)
        users.run("import shutil, sys; shutil.rmtree(sys.argv[1])", str(store), user=user)
        assert not store.exists()


@pytest.mark.integration
def test_nothing_in_it_is_writable_by_others_or_setuid(made: Made) -> None:
    modes = {path: mode for path, (mode, _, _) in _listing(made.root).items() if not mode.startswith("l")}
    assert len(modes) > 5000
    assert [path for path, mode in modes.items() if mode[1:3] != "rw" or "s" in mode or "w" in mode[4:]] == []
    assert [path for path, mode in modes.items() if mode.startswith("d") and mode != "drwxr-xr-x"] == []


@pytest.mark.integration
def test_a_stored_root_is_taken_again_for_the_same_packages_only(made: Made, tmp_path: Path) -> None:
    arguments = (made.target, made.pins, made.files, made.store)
    before = made.root.stat().st_ino
    assert buildroot.ensure(*arguments, progress=SilentProgress()) == made.root
    assert made.root.stat().st_ino == before
    assert buildroot.exists(made.target, made.pins, made.store)
    assert not buildroot.exists(made.target, made.pins, Store(tmp_path))
    assert not buildroot.exists(made.target, made.pins[1:], made.store)
    other = dataclasses.replace(made.target, alternatives=())
    assert buildroot.key(other, made.pins) != buildroot.key(made.target, made.pins)


_BUILD = r"""
set -eu
cd /build/out
cat > hello.c <<'END'
#include <stdio.h>
int main(void) { puts("hello"); return 0; }
END
cc -O2 -o hello hello.c && ./hello
cat > probe.c <<'END'
#include <Python.h>
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "probe", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_probe(void) { return PyModule_Create(&def); }
END
cc -shared -fPIC $(python3.11-config --includes) -o probe.so probe.c
python3 -c 'import probe; print(probe.__name__)'
cat > db.c <<'END'
#include <libpq-fe.h>
int version(void) { return PQlibVersion(); }
END
c++ --version > /dev/null
cc -shared -fPIC -I"$(pg_config --includedir)" -o libdb.so db.c -lpq
mkdir debian && printf 'Source: x\n\nPackage: x\nArchitecture: any\n' > debian/control
dpkg-shlibdeps -O -elibdb.so -ehello
dh_virtualenv --version
dpkg --audit
dpkg-query -W -f '${Package} ${Status}\n' libpq5 perl-base
dpkg -S /usr/bin/gcc-12 /usr/lib/x86_64-linux-gnu/libpq.so.5
dpkg-vendor --query Vendor
python3 -c 'import ssl, sqlite3'
python3 -c 'from ctypes.util import find_library; print(find_library("pq"), find_library("c"))'
perl -MDpkg::Version -e 'print Dpkg::Version->new("1-1"), "\n"'
awk 'BEGIN { print "awk" }'; which which
git -c init.defaultBranch=main init -q /tmp/r && echo git
getent passwd www-data; getent group shadow
"""


@pytest.mark.integration
def test_compilers_and_debian_s_tools_work_in_it(made: Made, tmp_path: Path) -> None:
    bind = Bind(source=tmp_path, target=PurePosixPath("/build/out"), writable=True)
    command = Command(argv=("sh", "-c", _BUILD), binds=(bind,), capture=True)
    outcome = RootRunner(made.root, HostRunner()).run(command)
    assert outcome.stdout.decode().splitlines() == [
        "hello",
        "probe",
        "shlibs:Depends=libc6 (>= 2.34), libpq5 (>= 9.1~)",
        "dh_virtualenv 1.2.2",
        "libpq5 install ok installed",
        "perl-base install ok installed",
        "gcc-12: /usr/bin/gcc-12",
        "libpq5:amd64: /usr/lib/x86_64-linux-gnu/libpq.so.5",
        "Debian",
        "libpq.so.5 libc.so.6",
        "1-1",
        "awk",
        "/usr/bin/which",
        "git",
        "www-data:*:33:33:www-data:/var/www:/usr/sbin/nologin",
        "shadow:*:42:",
    ]


_PACKAGE = {
    "debian/control": """\
Source: probe
Maintainer: Ada Lovelace <ada@example.org>
Build-Depends: debhelper-compat (= 13), libpq-dev, python3.11, dh-virtualenv (>= 1.2.2)
Standards-Version: 4.6.2
Rules-Requires-Root: no

Package: probe
Architecture: any
Depends: ${misc:Depends}, ${shlibs:Depends}
Description: a probe
 of the build root.
""",
    "debian/changelog": """\
probe (1.0-1) unstable; urgency=medium

  * Begin.

 -- Ada Lovelace <ada@example.org>  Fri, 20 Nov 2026 12:00:00 +0000
""",
    "debian/rules": "#!/usr/bin/make -f\n%:\n\tdh $@\n",
    "debian/source/format": "3.0 (native)\n",
    "debian/copyright": "none\n",
    "debian/probe.service": "[Service]\nExecStart=/usr/bin/probe\n",
    "Makefile": """\
probe: probe.c
\tcc $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -I/usr/include/postgresql -o $@ $< -lpq
install: probe
\tinstall -D probe $(DESTDIR)/usr/bin/probe
\tinstall -D -m 644 -o 0 -g 0 probe.c $(DESTDIR)/usr/share/probe/probe.c
""",
    "probe.c": "#include <libpq-fe.h>\nint main(void) { return PQlibVersion() == 0; }\n",
}
_DPKG_BUILDPACKAGE = r"""
import sys
from pathlib import Path, PurePosixPath
from buildonce.buildroot import RootRunner
from buildonce.model import Bind, Command, DebPin, Digest, RemoteFile
from buildonce.system.run import HostRunner
binds = (Bind(source=Path(sys.argv[2]), target=PurePosixPath("/build"), writable=True),)
command = Command(argv=("dpkg-buildpackage", "-us", "-uc", "-b"), cwd="/build/probe", binds=binds)
RootRunner(Path(sys.argv[1]), HostRunner()).run(command, log=Path(sys.argv[2], "log"))
"""


@pytest.mark.integration
def test_a_package_is_built_with_the_same_bytes_by_every_user(made: Made) -> None:
    built = {}
    with users.common_folder() as folder:
        for user, umask in (("", 0o022), ("", 0o077), *((other, 0o002) for other in users.OTHERS)):
            place = folder / f"{user}-{umask}"
            for name, text in _PACKAGE.items():
                path = place / "probe" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            (place / "probe/debian/rules").chmod(0o755)
            if user:
                for path in (place, *place.rglob("*")):
                    shutil.chown(path, user, "nogroup")
            users.run(_DPKG_BUILDPACKAGE, str(made.root), str(place), user=user, umask=umask)
            package = place / "probe_1.0-1_amd64.deb"
            built[user, umask] = package.read_bytes()
            assert "libpq5 (>= " in deb.read(package).fields["Depends"]
    assert len(set(built.values())) == 1


def test_a_full_disk_is_told_with_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = making.make(tmp_path / "a.deb", [making.file("./a", b"1")])
    file = RemoteFile(filename=path.name, sha256=Digest("00" * 32))
    pin = DebPin(name="a", version="1", architecture="all", file=file)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    store = Store(tmp_path / "store")
    with pytest.raises(ReleaseError, match="the disk is full") as caught:
        buildroot.ensure(targets.load("debian-12"), [pin], [path], store, progress=SilentProgress())
    assert "BUILDONCE_STORE" in caught.value.problems[0].hint
    assert [path for path in (store.root / "roots").iterdir() if path.suffix != ".lock"] == []
