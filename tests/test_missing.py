from __future__ import annotations

import tomllib

import pytest

from buildonce import missing
from buildonce.missing import Missing
from buildonce.system import share

# ruff: noqa: E501 - the words of real tools
SAID = {
    "./psycopg/psycopg.h:36:10: fatal error: libpq-fe.h: No such file or directory\n   36 | #include <libpq-fe.h>": "libpq-dev",
    "src/c/_cffi_backend.c:15:10: fatal error: ffi.h: No such file or directory\ncompilation terminated.": "libffi-dev",
    "build/x.c:1: fatal error: 'openssl/ssl.h' file not found": "libssl-dev",
    "Error: pg_config executable not found.\n\npg_config is required to build psycopg2 from source.": "libpq-dev",
    "/usr/bin/ld: cannot find -lldap: No such file or directory\ncollect2: error": "libldap-dev",
    "/usr/bin/ld: cannot find -lsasl2": "libsasl2-dev",
    "Package 'xmlsec1', required by 'virtual:world', not found": "libxmlsec1-dev",
    "No package 'libgit2' found": "libgit2-dev",
    "Package yaml-0.1 was not found in the pkg-config search path.": "libyaml-dev",
    "Package cairo was not found in the pkg-config search path.": "libcairo2-dev",
    "/bin/sh: 1: mysql_config: not found\n/bin/sh: 1: mariadb_config: not found": "default-libmysqlclient-dev",
    "Exception: Can not find valid pkg-config name.": "default-libmysqlclient-dev",
    "Error: Please make sure the libxml2 and libxslt development packages are installed.": "libxml2-dev",
    "The headers or library files could not be found for jpeg,\na required dependency": "libjpeg-dev",
    "FileNotFoundError: [Errno 2] No such file or directory: 'cmake'": "cmake",
    '../meson.build:41:0: ERROR: Dependency "openblas" not found, tried pkgconfig': "libopenblas-dev",
    "meson.build:9:4: ERROR: Program 'swig' not found or not executable": "swig",
    "error: can't find Rust compiler": "rustc",
    "Cargo, the Rust package manager, is not installed or is not on PATH.": "cargo",
    "fatal error: ft2build.h: No such file or directory": "libfreetype-dev",
}


@pytest.mark.parametrize(("output", "package"), SAID.items())
def test_well_known_ones_are_named(output: str, package: str) -> None:
    found = missing.find(f"running build_ext\n{output}\nerror: command failed\n")
    assert found[0].package == package
    assert f'"{package}"' in missing.hint("some-dist", found)


def test_unknown_header_names_the_search() -> None:
    found = missing.find("a.c:1:10: fatal error: obscure/thing.h: No such file or directory")
    assert found == (Missing(what="obscure/thing.h", package=""),)
    hint = missing.hint("some-dist", found)
    assert "apt-file search obscure/thing.h" in hint
    assert "[tool.release.build.some-dist]" in hint


def test_the_first_one_counts_and_each_is_named_once() -> None:
    header = "fatal error: ffi.h: No such file or directory\n"
    output = f"{header}cannot find -lssl\n{header}"
    assert [m.what for m in missing.find(output)] == ["ffi.h", "ssl"]


@pytest.mark.parametrize(
    "output",
    [
        "",
        "error: command '/usr/bin/gcc' failed with exit code 1",
        "a.c:5:1: error: expected ';' before 'return'",
        "FileNotFoundError: [Errno 2] No such file or directory: 'README.md'/x",
        "FileNotFoundError: [Errno 2] No such file or directory: '/build/src/VERSION'",
    ],
)
def test_nothing_is_guessed(output: str) -> None:
    assert missing.find(output) == ()


def test_hint_can_be_pasted_and_keeps_what_is_there() -> None:
    found = missing.find("fatal error: ffi.h: No such file or directory")
    lines = missing.hint("some-dist", found, ["libpq-dev"]).partition("\n")[2]
    assert tomllib.loads(lines)["tool"]["release"]["build"]["some-dist"] == {"apt": ["libpq-dev", "libffi-dev"]}


def test_hint_when_the_package_is_named_already() -> None:
    found = missing.find("fatal error: ffi.h: No such file or directory")
    assert missing.hint("some-dist", found, ["libffi-dev"]).endswith("run `release lock`")


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("curl: (6) Could not resolve host: example.org", "download"),
        ("urllib3: Temporary failure in name resolution", "download"),
        ("OSError: [Errno 101] Network is unreachable", "download"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/nonexistent/.netrc'", "home"),
        ("OSError: [Errno 30] Read-only file system: '/nonexistent'", "home"),
        ("OSError: [Errno 30] Read-only file system: '/usr/lib/x'", "outside of its folder"),
    ],
)
def test_what_no_build_may(output: str, what: str) -> None:
    found = missing.forbidden(output)
    assert found is not None
    assert what in found.what


def test_what_a_compiler_misses_is_not_forbidden() -> None:
    assert missing.forbidden("fatal error: ffi.h: No such file or directory") is None


def test_table_names_nothing_twice() -> None:
    packages = tomllib.loads(share.path("builders", "wheel", "packages.toml").read_text())["packages"]
    names = [name for listed in packages.values() for name in listed]
    assert sorted(names) == sorted(set(names))
