"""[tool.release]: what is taken, and what is told about what is not. The schema says the same."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import config
from buildonce.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.config import Settings

FULL = """\
[tool.release]
name = "orders-api"
targets = ["debian-12", "debian-13"]
formats = ["deb", "oci"]
command = "orders --help"
maintainer = "Ada Lovelace <ada@example.org>"

[tool.release.service]
command = "orders serve --host=0.0.0.0 --workers 2"
port = 8000
health = "/health?deep=1"
user = "orders"
migrate = "orders migrate"
writable = ["/var/lib/orders/cache", "/srv/spool"]

[tool.release.service.environment]
ORDERS_DSN = "postgresql://orders@db/orders?options=-c%20x='y'"
EMPTY = ""

[tool.release.image]
base = "registry.example.org/base:1@sha256:{digest}"

[tool.release.sign]
key = "~/.keys/release.pem"

[tool.release.build.Psycopg_2]
apt = ["libpq-dev", "g++-12"]
""".replace("{digest}", "a" * 64)


def read(root: Path, text: str, *, targets: tuple[str, ...] = ("debian-12", "debian-13")) -> Settings:
    (root / "pyproject.toml").write_text(text)
    return config.read(root, targets=targets)


def problems(root: Path, text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        read(root, text)
    assert caught.value.exit_code == 3
    return [(p.message, p.where, p.hint) for p in caught.value.problems]


def test_everything(tmp_path: Path) -> None:
    found = read(tmp_path, FULL)
    assert found.name == "orders-api"
    assert list(found.targets) == ["debian-12", "debian-13"]
    assert found.formats == ("deb", "oci")
    assert found.service is not None
    assert (found.service.port, found.service.user, found.service.migrate) == (
        8000,
        "orders",
        "orders migrate",
    )
    assert found.service.writable == ("/var/lib/orders/cache", "/srv/spool")
    assert found.image.base.endswith("a" * 64)
    assert found.sign.key == "~/.keys/release.pem"
    assert found.build["psycopg-2"].apt == ("libpq-dev", "g++-12")


@pytest.mark.parametrize("text", ["", "[tool]\n", "[tool.other]\nx = 1\n", "[tool.release]\n"])
def test_nothing_at_all_is_the_common_case(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert found == config.Settings()
    assert list(found.targets) == ["debian-12"]
    assert found.formats == ("wheel", "pex", "deb", "oci")


def test_no_file(tmp_path: Path) -> None:
    assert config.read(tmp_path) == config.Settings()


def test_release_toml(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "release.toml").write_text('formats = ["pex"]\n[service]\ncommand = "orders"\nprot = 1\n')
    with pytest.raises(ConfigurationError) as caught:
        config.read(tmp_path)
    assert [(p.message, p.where) for p in caught.value.problems] == [
        ("unknown key 'prot'", "release.toml: service.prot")
    ]


def test_both_files(tmp_path: Path) -> None:
    (tmp_path / "release.toml").write_text("")
    with pytest.raises(ConfigurationError, match="configured twice"):
        read(tmp_path, "[tool.release]\n")


def test_one_vault_or_several(tmp_path: Path) -> None:
    assert read(tmp_path, '[tool.release]\nvault = "/srv/v"').vault == ("/srv/v",)
    assert read(tmp_path, '[tool.release]\nvault = ["/srv/v", "x.tar"]').vault == ("/srv/v", "x.tar")
    assert read(tmp_path, "").vault == ()
    assert problems(tmp_path, "[tool.release]\nvault = 5")[0][0] == "expected a list, found the number 5"


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(read(tmp_path, ""), "name", "other")  # noqa: B010 - mypy knows that it is frozen


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = """
        [tool.release]
        formats = ["wheel", "dep"]
        tragets = ["debian-12"]
        targets = ["debian-12", "debain-13"]
        [tool.release.service]
        port = "8000"
        helth = "/health"
        [tool.release.build.lxml]
        apt = "libxml2-dev"
        atp = []
    """
    assert problems(tmp_path, text) == [
        ("unknown format 'dep'", "pyproject.toml: tool.release.formats[1]", "did you mean 'deb'?"),
        (
            "'command' is missing",
            "pyproject.toml: tool.release.service.command",
            "add it to pyproject.toml: tool.release.service",
        ),
        ("expected a whole number, found the text '8000'", "pyproject.toml: tool.release.service.port", ""),
        ("unknown key 'helth'", "pyproject.toml: tool.release.service.helth", "did you mean 'health'?"),
        ("expected a list, found the text 'libxml2-dev'", "pyproject.toml: tool.release.build.lxml.apt", ""),
        ("unknown key 'atp'", "pyproject.toml: tool.release.build.lxml.atp", "did you mean 'apt'?"),
        ("unknown key 'tragets'", "pyproject.toml: tool.release.tragets", "did you mean 'targets'?"),
        (
            "unknown target 'debain-13'",
            "pyproject.toml: tool.release.targets[1]",
            "did you mean 'debian-13'?",
        ),
    ]


def test_unlike_anything_known(tmp_path: Path) -> None:
    found = problems(
        tmp_path, '[tool.release]\ntargets = ["windows"]\nformats = ["rpm"]\n[tool.release.image]\nzzz = 1\n'
    )
    assert found == [
        (
            "unknown format 'rpm'",
            "pyproject.toml: tool.release.formats[0]",
            "known formats: wheel, pex, deb, oci",
        ),
        ("unknown key 'zzz'", "pyproject.toml: tool.release.image.zzz", "known keys: base"),
        (
            "unknown target 'windows'",
            "pyproject.toml: tool.release.targets[0]",
            "known targets: debian-12, debian-13; define another one in [tool.release.targets.NAME]",
        ),
    ]


def test_targets_that_ship_are_known(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.release]\ntargets = ["debian-12", "debian-99"]\n')
    with pytest.raises(ConfigurationError, match="unknown target 'debian-99'"):
        config.read(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("release = 1", "expected a table, found the number 1"),
        ("[tool.release]\nservice = true", "expected a table, found the boolean true"),
        ("[tool.release]\nservice = []", "expected a table, found an empty list"),
        ("[tool.release]\nname = 1.5", "expected text, found the number 1.5"),
        ("[tool.release]\nname = 2026-01-01", "expected text, found a date"),
        ("[tool.release]\ntargets = []", "expected at least one entry, found an empty list"),
        ("[tool.release]\nformats = []", "expected at least one entry, found an empty list"),
        ('[tool.release]\ntargets = "debian-12"', "expected a list, found the text 'debian-12'"),
        ("[tool.release]\ntargets = [1]", "expected text, found the number 1"),
        ("[tool.release]\nbuild = [1]", "expected a table, found a list"),
        (
            '[tool.release.service]\ncommand = "x"\nport = true',
            "expected a whole number, found the boolean true",
        ),
        (
            '[tool.release.service]\ncommand = "x"\nport = 0',
            "expected a port from 1 to 65535, found the number 0",
        ),
        (
            '[tool.release.service]\ncommand = "x"\nport = 65536',
            "expected a port from 1 to 65535, found the number 65536",
        ),
        ('[tool.release.service]\ncommand = "x"\nenvironment = {A = 1}', "expected text, found the number 1"),
    ],
)
def test_wrong_types_in_plain_words(tmp_path: Path, line: str, message: str) -> None:
    text = line if line.startswith("[") else f"[tool]\n{line}"
    assert [message] == [found[0] for found in problems(tmp_path, text)]


GOOD: dict[str, list[str]] = {
    "name": ["orders", "a1", "orders-api-2"],
    "maintainer": ["Ada <ada@example.org>", "Ada van Lovelace, Ltd. <a.l+deb@example.org>"],
    "command": ["orders", "orders serve --port=80", "a.b-c_d x y=z ./relative 127.0.0.1:80"],
    "service.migrate": ["alembic upgrade head"],
    "service.health": ["/", "/health", "/a/b.c?x=y&z"],
    "service.user": ["orders", "_orders", "o-1", "a" * 31],
    "service.writable": ["/var/lib/x", "/srv/a.b/c-d_e@f+g", "/..a"],
    "service.environment": ["", "a b", "%i", "$HOME", "it's", "ä", "a;b|c"],
    "image.base": [f"debian@sha256:{'0' * 64}", "base.tar", "../images/base image.tar"],
    "build.x.apt": ["libpq-dev", "g++", "python3.11-dev", "lib64z1"],
    "vault": [
        "/srv/my vault",
        "inputs.tar",
        "file:///srv/v",
        "https://example.org/v/",
        "oci://example.org:5000/a/b",
        "oci+http://nas/a",
    ],
    "sign.key": ["k.pem", "pkcs11:token=x;object=y", "azurekms://vault/key"],
}
BAD: dict[str, list[str]] = {
    "name": ["O", "o", "Orders", "orders_api", "orders.api", "-orders", "orders-", "a--b", "a/b", "a\nb",
        "a b", "ä1"],
    "maintainer": ["Ada", "ada@example.org", "<ada@example.org>", "Ada <ada>", "A\nB <a@b.c>",
        "A <a@b.c>\n", "A <a@b.c>, B <b@c.d>"],
    "command": ["/bin/sh", "../x", "-x", "a 'b'", 'a "b"', "a $B", "a;b", "a %i", "a|b", "a >b", "a\nb",
        "a\tb", "a\\b", " a", "a ", "+a", "@a", "!a"],
    "service.migrate": ["a && b", "a\nExecStart=/bin/sh"],
    "service.health": ["health", "http://x/", "/a b", "/a\nb", '/a"b', "/a'b", "/$(x)", "/`x`", "/ä"],
    "service.user": ["0rders", "-a", "Orders", "a b", "a:b", "a" * 32, "a\n"],
    "service.writable": ["var", "/", "//a", "/a/../b", "/a/./b", "/a/..", "/a b", "/a\nb", "/a:b", '/a"',
        "/a/", "%S/a", "/a%b"],
    "service.environment": ['a"b', "a\nb", "a\\", "a\x00b", "a\rb", "\x7f"],
    "image.base": ["debian", "debian:12", "debian@sha256:12", f"Debian@sha256:{'0' * 64}",
        f"debian@sha256:{'0' * 64} x", "a\nb.tar"],
    "build.x.apt": ["-oDpkg::Options=x", "libpq_dev", "libpq-dev=1", "libpq-dev:i386", "a", "A1",
        "libpq-dev\nx", "./x.deb", "libpq-dev+ x"],
    "vault": ["", "a\nb", "oci://u:p@example.org/a", "https://u:p@example.org/v", "s3://bucket", "oci://example.org",
        "oci://example.org/a:tag", "oci://example.org/a b"],
    "sign.key": ["a\nb", "a\x00"],
}  # fmt: skip


def document(key: str, value: str) -> str:
    quoted = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if key == "service.environment":
        return f'[tool.release.service]\ncommand = "x"\nenvironment = {{NAME = {quoted}}}\n'
    table, _, last = key.rpartition(".")
    header = f"[tool.release{'.' if table else ''}{table}]\n" + ('command = "x"\n' if table == "service" else "")
    return header + f"{last} = " + (f"[{quoted}]" if last in {"apt", "writable"} else quoted) + "\n"


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in GOOD.items() for value in values])
def test_good_values(tmp_path: Path, key: str, value: str) -> None:
    assert value in str(read(tmp_path, document(key, value)).model_dump(mode="json")).replace('"', "'") or "'" in value


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_values_that_would_mean_something_else_further_down(tmp_path: Path, key: str, value: str) -> None:
    message, where, _ = problems(tmp_path, document(key, value))[0]
    assert where.startswith(f"pyproject.toml: tool.release.{key}")
    assert message.startswith(f"{value!r} is not ")


@pytest.mark.parametrize("name", ["A B", "1A", "A=B", "A-B", "", "A\nB"])
def test_names_of_variables(tmp_path: Path, name: str) -> None:
    text = f'[tool.release.service]\ncommand = "x"\nenvironment = {{{json.dumps(name)} = "x"}}\n'
    assert problems(tmp_path, text)[0][0] == f"{name!r} is not the name of an environment variable"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[tool.release\n", "pyproject.toml:1:14"),
        ("a = 1\nb = \n", "pyproject.toml:2:5"),
        ("a = 1\na = 2\n", "pyproject.toml:2:6"),
        ("a = [", "pyproject.toml: at its end"),
    ],
)
def test_what_is_no_toml(tmp_path: Path, text: str, where: str) -> None:
    (message, found, _) = problems(tmp_path, text)[0]
    assert message.startswith("pyproject.toml is not valid TOML: ")
    assert found == f"{tmp_path}/{where}"


def test_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b'a = "\xff"\n')
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        config.read(tmp_path)


def test_the_schema_describes_every_key() -> None:
    schema = config.json_schema()
    tables: list[dict[str, Any]] = [schema, *schema["$defs"].values()]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for table in tables:
        assert table["additionalProperties"] is False
        assert table["description"]
        for key, facts in table["properties"].items():
            assert facts.get("description") or "$ref" in facts, key
    assert {"debian-12", "debian-13"} <= set(schema["properties"]["targets"]["anyOf"][0]["items"]["enum"])


def test_the_schema_agrees_with_the_model() -> None:
    jsonschema = importlib.import_module("jsonschema")
    validator = jsonschema.Draft202012Validator(config.json_schema())
    import tomllib

    def errors(key: str, value: str) -> list[Any]:
        return list(validator.iter_errors(tomllib.loads(document(key, value))["tool"]["release"]))

    assert [(k, v) for k, values in GOOD.items() for v in values if errors(k, v)] == []
    # JSON Schema searches; a last newline gets past a dollar sign in Python's re, which is why the model
    # matches in full.
    missed = [(k, v) for k, values in BAD.items() for v in values if not errors(k, v) and not v.endswith("\n")]
    assert missed == []


def test_pydantic_is_imported_only_when_settings_are_read() -> None:
    script = "import sys, buildonce.project, buildonce.version, buildonce.fetch, buildonce.system.net; "
    script += "import buildonce.system.console as _; heavy = {'pydantic', 'rich', 'httpx', 'tomlkit'}; "
    script += "print(sorted(heavy & set(sys.modules)))"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"
