"""A plan is checked, every value of it, before anything of it is used."""

from __future__ import annotations

import ast
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from tests.recipes.host_program import FOLDER, load, plan

if TYPE_CHECKING:
    from pathlib import Path

plans = load("plan")
versions = load("versions")
Refused = load("problems").Refused

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n'


def test_a_good_plan_in_every_way_it_comes(tmp_path: Path) -> None:
    data = json.dumps(plan()).encode()
    (tmp_path / "plan.json").write_bytes(data)
    found = plans.read(str(tmp_path / "plan.json"))
    assert plans.decoded(base64.b64encode(data).decode()) == found
    assert found.service.migrate == ("tinyapp", "migrate")
    assert found.data == plan()


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"name": "../etc"},
        {"name": "tinyapp\n"},
        {"deployment": ""},
        {"deployment": "a b"},
        {"who": "a\nb"},
        {"mode": "destroy"},
        {"format": "rpm"},
        {"source": "http"},
        {"version": ""},
        {"version": "1.0/../.."},
        {"version": "1.0-1"},
        {"version": 1},
        {"artifacts": []},
        {"apt": {"uri": "https://a\nSigned-By: b", "suite": "s", "component": "main"}},
        {"guard": "300"},
        {"guard": -1},
        {"guard": True},
        {"floor": "one"},
        {"engine": "sh"},
        {"check": {}},
        {"service": {**plan()["service"], "user": "root; rm"}},
        {"service": {**plan()["service"], "environment": {"A": "b\nc"}}},
        {"service": {**plan()["service"], "environment": {"A=B": "c"}}},
        {"service": {**plan()["service"], "health": "health"}},
        *(
            {"artifacts": {"debian-12": {**plan()["artifacts"]["debian-12"], key: value}}}
            for key, value in [
                ("file", "../a.deb"),
                ("file", "-a.deb"),
                ("sha256", "0"),
                ("package", "1 2"),
                ("image", "latest"),
                ("interpreter", "python3"),
                ("interpreter", "/usr/bin/python3 -c"),
                ("size", None),
                ("units", {"/etc/passwd": ""}),
                ("units", {"/etc/cron.d/tinyapp": ""}),
                ("units", {"/etc/systemd/system/../../passwd": ""}),
                ("units", {"etc/systemd/system/tinyapp.service": ""}),
                ("units", {"/etc/systemd/system/tinyapp.service": None}),
            ]
        ),
    ],
    ids=str,
)
def test_a_wrong_value(change: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        plans.of(plan(**change))


@pytest.mark.parametrize("missing", sorted(plan().keys() - {"apt"}))
def test_a_missing_value(missing: str) -> None:
    fields = plan()
    del fields[missing]
    with pytest.raises(Refused):
        plans.of(fields)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"plan"'])
def test_no_plan_at_all(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    for source in (tmp_path / "plan.json", tmp_path / "nowhere"):
        with pytest.raises(Refused):
            plans.read(str(source))
    for word in (base64.b64encode(text.encode()).decode(), "{"):
        with pytest.raises(Refused):
            plans.decoded(word)


def test_going_back_needs_no_version() -> None:
    assert plans.of(plan(mode="rollback", version="", artifacts={})).artifact() is None


def host(root: Path, monkeypatch: pytest.MonkeyPatch, release: str = DEBIAN, machine: str = "x86_64") -> Path:
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/os-release").write_text(release)
    monkeypatch.setattr("platform.machine", lambda: machine)
    return root


def test_the_artifact_for_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = plan()["artifacts"]["debian-12"]
    rows = {
        "debian-13": {**deb, "release": "13", "codename": "trixie"},
        "debian-12-arm64": {**deb, "architecture": "arm64"},
        "debian-12": deb,
    }
    found = plans.of(plan(artifacts=rows))
    assert found.artifact(host(tmp_path, monkeypatch)) == found.artifacts["debian-12"]
    assert found.artifact(host(tmp_path, monkeypatch, machine="aarch64")) == found.artifacts["debian-12-arm64"]
    newer = DEBIAN.replace("12", "13")
    assert found.artifact(host(tmp_path, monkeypatch, newer)) == found.artifacts["debian-13"]
    other = DEBIAN.replace("ID=debian", "ID=ubuntu")
    assert found.artifact(host(tmp_path, monkeypatch, other)) is None
    # An image brings its distribution along.
    image = plans.of(plan(format="oci", engine="podman", artifacts=rows))
    assert image.artifact(host(tmp_path, monkeypatch, other)).architecture == "amd64"
    assert image.artifact(host(tmp_path, monkeypatch, other, machine="riscv64")) is None


def test_units_are_those_for_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    row = plan()["artifacts"]["debian-12"] | {"units": {"/etc/systemd/system/a.service": "a"}}
    found = plans.of(plan(artifacts={"debian-12": row}))
    monkeypatch.setattr(plans, "host", lambda _: {"distribution": "debian", "release": "12", "architecture": "amd64"})
    assert found.units == {"etc/systemd/system/a.service": "a"}
    monkeypatch.setattr(plans, "host", lambda _: {"distribution": "debian", "release": "13", "architecture": "amd64"})
    assert found.units == {}


PARTS = st.tuples(
    st.sampled_from(["", "1!"]),
    st.sampled_from(["1", "1.0", "1.0.0", "1.0.1", "1.10", "2"]),
    st.sampled_from(["", "a1", "b1", "rc1", "rc10"]),
    st.sampled_from(["", ".post1"]),
    st.sampled_from(["", ".dev1", ".dev12"]),
    st.sampled_from(["", "+1", "+g1a2b3c4", "+g1a.2", "+2.a"]),
)


@given(PARTS, PARTS)
def test_versions_are_ordered_as_everywhere(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    texts = ["".join(left), "".join(right)]
    wanted = [Version(text) for text in texts]
    assert versions.older(*texts) == (wanted[0] < wanted[1])
    assert (versions.key(texts[0]) == versions.key(texts[1])) == (wanted[0] == wanted[1])


@pytest.mark.parametrize("text", ["", "v1", "1.0-1", "1.0 ", "1.0rc", "1_0", "latest", "1.0+A"])
def test_versions_in_another_spelling(text: str) -> None:
    with pytest.raises(Refused):
        versions.key(text)


def test_it_runs_on_every_python_of_the_hosts() -> None:
    """Python 3.9 reads it, and it needs nothing but what comes with Python."""
    import sys

    files = sorted(FOLDER.glob("*.py"))
    own = {path.stem for path in files}
    for path in files:
        tree = ast.parse(path.read_text(), path.name, feature_version=(3, 9))
        nodes = list(ast.walk(tree))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
        roots = {name.partition(".")[0] for name in names}
        assert roots <= own | sys.stdlib_module_names, path.name
    assert not own & sys.stdlib_module_names
