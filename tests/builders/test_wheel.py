from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
import uv
from packaging.pylock import Pylock

from buildonce import normalise, tree, wheels
from buildonce import target as targets
from buildonce.builders import _wheelhouse
from buildonce.builders.wheel import WheelBuilder
from buildonce.errors import VerificationError
from buildonce.model import Artifact, ArtifactKind, Bind, Command, Entry, Outcome
from buildonce.system import files, share
from tests import backends
from tests.builders import small_stage
from tests.oci import image_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buildonce.model import Contents, Wheel
    from buildonce.stage import Stage

pytestmark = pytest.mark.integration

PIP = "pip==26.3"
PYTHON = "/usr/bin/python3.11"
OPT = PurePosixPath("/opt")
HOUSE = PurePosixPath("/build/house")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("stage")
    made = small_stage.stage(folder / "stage")
    top = folder / f"tinyapp-{made.version.pep440}"
    (top / "src").mkdir(parents=True)
    (top / "PKG-INFO").write_text(f"Metadata-Version: 2.4\nName: tinyapp\nVersion: {made.version.pep440}\n")
    (top / "src" / "tinyapp.py").write_text("x = 1\n")
    (top / "src" / "link.py").symlink_to("tinyapp.py")
    packed = backends.sdist_of(top, folder / "packed")
    return replace(made, sdist=normalise.sdist(packed, folder / "sdist", epoch=made.source.epoch))


@pytest.fixture(scope="module")
def artifacts(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> dict[ArtifactKind, Artifact]:
    into = tmp_path_factory.mktemp("artifacts")
    return {made.kind: made for made in WheelBuilder().build(stage, into, small_stage.runner())}


@pytest.fixture(scope="module")
def house(artifacts: dict[ArtifactKind, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheelhouse."""
    return _unpacked(artifacts["wheelhouse"].path, tmp_path_factory.mktemp("house") / "h")


def _unpacked(path: Path, into: Path) -> Path:
    into.mkdir()
    subprocess.run(["tar", "-C", str(into), "-xf", str(path)], check=True)
    return into


def _read(artifact: Artifact, path: Path | None = None) -> Contents:
    return WheelBuilder().read(path or artifact.path, artifact.kind, name="tinyapp", interpreter=PYTHON)


def _expected(artifact: Artifact, stage: Stage) -> Iterator[Entry]:
    shares = {
        "wheel": stage.tree.of("tinyapp").carried_by_wheels().entries,
        "sdist": (),
        "wheelhouse": stage.tree.carried_by_wheels().entries,
    }
    yield from shares[artifact.kind]
    yield from artifact.extras


def test_names_follow_the_contract(artifacts: dict[ArtifactKind, Artifact]) -> None:
    version = "1.2.4.dev5+g1a2b3c4"
    assert {kind: (made.file, made.target) for kind, made in artifacts.items()} == {
        "wheel": (f"tinyapp-{version}-py3-none-any.whl", ""),
        "sdist": (f"tinyapp-{version}.tar.gz", ""),
        "wheelhouse": (f"tinyapp-{version}-debian-12.wheelhouse.tar", "debian-12"),
    }
    for made in artifacts.values():
        assert made.sha256 == files.sha256_file(made.path)
        assert made.path.stat().st_mode & 0o777 == 0o644
    assert sorted(p.name for p in artifacts["wheel"].path.parent.iterdir()) == sorted(
        a.file for a in artifacts.values()
    )


@pytest.mark.parametrize("kind", ["wheel", "sdist", "wheelhouse"])
def test_what_is_read_back_is_what_was_built(
    kind: ArtifactKind, stage: Stage, artifacts: dict[ArtifactKind, Artifact]
) -> None:
    found = _read(artifacts[kind])
    assert (found.name, found.version) == ("tinyapp", "1.2.4.dev5+g1a2b3c4")
    assert tree.difference(_expected(artifacts[kind], stage), found.entries) == ()
    assert found.entries == tuple(sorted(found.entries))
    assert len(found.entries) >= 3


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_built_again_elsewhere_it_is_the_same(
    umask: int,
    stage: Stage,
    artifacts: dict[ArtifactKind, Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.chdir(tmp_path)
    before = os.umask(umask)
    try:
        house = replace(
            stage.wheelhouse,
            wheels=tuple(_elsewhere(w, tmp_path / "copies") for w in stage.wheelhouse.wheels),
        )
        made = WheelBuilder().build(replace(stage, wheelhouse=house), tmp_path / "deep" / "out", small_stage.runner())
    finally:
        os.umask(before)
    assert {m.kind: m.sha256 for m in made} == {kind: a.sha256 for kind, a in artifacts.items()}


def _elsewhere(wheel: Wheel, into: Path) -> Wheel:
    files.copy_file(wheel.path, into / wheel.filename, mode=0o600)
    os.utime(into / wheel.filename, (1, 1))
    return replace(wheel, path=into / wheel.filename)


# What other tools read


def test_lock_names_every_wheel_and_what_it_needs(stage: Stage, house: Path) -> None:
    data = tomllib.loads((house / "pylock.toml").read_text())
    lock = Pylock.from_dict(data)
    target = stage.target
    chosen = list(
        lock.select(environment=targets.markers(target), tags=targets.tags(target))  # type: ignore[arg-type]
    )
    assert [package.name for package, _ in chosen] == [wheel.name for wheel in stage.wheelhouse.wheels]
    for one in (wheel for package in data["packages"] for wheel in package["wheels"]):
        path = house / one["path"]
        assert (one["hashes"]["sha256"], one["size"]) == (files.sha256_file(path), path.stat().st_size)


def test_dependencies_count_extras_of_what_is_there_and_markers_of_the_target(tmp_path: Path) -> None:
    facts = wheels.facts(image_stage.make_wheel(tmp_path, "a", "1", {"a.py": ""}))
    asking = replace(
        facts,
        requires_dist=(
            "b>=1",
            "c; sys_platform == 'win32'",
            "d; extra == 'fast'",
            "e; extra == 'fast'",
            "f; python_version < '3.12'",
        ),
        metadata={**facts.metadata, "provides_extra": ["fast"]},
    )
    assert _wheelhouse._dependencies(asking, {"a", "d"}, backends.TARGET) == ["b", "d", "f"]


def _run(script: str, *binds: Bind, house: Path) -> Outcome:
    """Run *script* (POSIX sh) in the target's userland, without network, pip and setuptools."""
    return small_stage.runner().run(
        Command(
            argv=("sh", "-euc", script),
            cwd=str(HOUSE),
            binds=(Bind(source=house, target=HOUSE), *binds),
            capture=True,
        ),
        check=False,
    )


def _text(outcome: Outcome) -> str:
    assert outcome.returncode == 0, outcome.tail + outcome.stdout.decode()
    return outcome.stdout.decode()


VENV = "python3.11 -m venv --without-pip /tmp/v\n"
PIP_INSTALL = "PYTHONPATH=/build/pip.whl python3.11 -m pip --python /tmp/v/bin/python install --no-cache-dir --no-index"
UV_SYNC = "/build/uv pip sync --offline --no-index --no-cache --python /tmp/v/bin/python pylock.toml"
INSTALLERS = {
    "pip with requirements.txt": f"{PIP_INSTALL} --find-links wheels --require-hashes -r requirements.txt",
    "pip with pylock.toml": f"{PIP_INSTALL} -r pylock.toml",
    "uv with pylock.toml": UV_SYNC,
}


def _tools() -> tuple[Bind, ...]:
    (pip,) = small_stage.download(PIP)
    return (
        Bind(source=pip, target=PurePosixPath("/build/pip.whl")),
        Bind(source=Path(uv.find_uv_bin()), target=PurePosixPath("/build/uv")),
    )


@pytest.mark.parametrize("installer", INSTALLERS)
def test_other_installers_take_it_offline(installer: str, house: Path) -> None:
    said = _text(_run(f"{VENV}{INSTALLERS[installer]} >&2\n/tmp/v/bin/tinyapp from a venv", *_tools(), house=house))
    assert said == "tinyapp click &lt; from a venv\n"


@pytest.mark.parametrize("installer", INSTALLERS)
def test_other_installers_refuse_a_changed_wheel(installer: str, house: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(house, tmp_path / "house")
    (wheel,) = (changed / "wheels").glob("click-*")
    other = image_stage.make_wheel(tmp_path, "click", "8.1.7", {"click/__init__.py": "evil = True\n"})
    wheel.write_bytes(other.read_bytes())
    outcome = _run(f"{VENV}{INSTALLERS[installer]} >&2", *_tools(), house=changed)
    assert outcome.returncode != 0
    assert any(word in outcome.tail.lower() for word in ("hash", "size")), outcome.tail


# Our own installer


def _opt(tmp_path: Path) -> Bind:
    (tmp_path / "opt").mkdir(exist_ok=True)
    return Bind(source=tmp_path / "opt", target=OPT, writable=True)


def _installed(root: Path) -> set[tuple[str, int, str]]:
    """(path, mode, content or link) of everything."""
    return {
        (
            path.relative_to(root).as_posix(),
            0o777 if path.is_symlink() else path.stat().st_mode & 0o7777,
            f"-> {path.readlink()}" if path.is_symlink() else files.sha256_file(path),
        )
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_installed_it_is_the_tree_bytecode_and_records_included(stage: Stage, house: Path, tmp_path: Path) -> None:
    said = _text(
        _run(
            "umask 077; sh install.sh /opt/venvs/tinyapp; /opt/venvs/tinyapp/bin/tinyapp x",
            _opt(tmp_path),
            house=house,
        )
    )
    assert said.splitlines() == [
        "tinyapp 1.2.4.dev5+g1a2b3c4 is installed in /opt/venvs/tinyapp",
        "tinyapp click &lt; x",
    ]
    assert _installed(tmp_path / "opt") == {
        (e.path.removeprefix("opt/"), e.mode, f"-> {e.link}" if e.link else e.sha256) for e in stage.tree.entries
    }
    folders = {
        p.stat().st_mode & 0o7777 for p in (tmp_path / "opt/venvs").rglob("*") if p.is_dir() and not p.is_symlink()
    }
    assert folders == {0o755}


def test_installed_again_nothing_is_touched(house: Path, tmp_path: Path) -> None:
    _text(_run("sh install.sh /opt/app", _opt(tmp_path), house=house))
    times = {path: path.lstat().st_mtime_ns for path in (tmp_path / "opt").rglob("*")}
    assert "is installed already" in _text(_run("sh install.sh /opt/app", _opt(tmp_path), house=house))
    assert {path: path.lstat().st_mtime_ns for path in (tmp_path / "opt").rglob("*")} == times


def test_without_bytecode_and_after_a_run_it_is_still_the_same(house: Path, tmp_path: Path) -> None:
    run = "PYTHONDONTWRITEBYTECODE= /opt/app/bin/tinyapp"
    script = f"sh install.sh --no-compile /opt/app; {run}; sh install.sh /opt/app"
    said = _text(_run(script, _opt(tmp_path), house=house))
    assert said.splitlines()[-1].endswith("is installed already in /opt/app")
    assert list((tmp_path / "opt/app").rglob("*.pyc"))


@pytest.mark.parametrize("place", ["relative/way", "/opt/with a space/app", f"/opt/{'long/' * 30}app"])
def test_any_place_will_do(place: str, house: Path, tmp_path: Path) -> None:
    said = _text(
        _run(
            f"cd /opt; sh {HOUSE}/install.sh '{place}' >&2; '{place}/bin/tinyapp' well",
            _opt(tmp_path),
            house=house,
        )
    )
    assert said == "tinyapp click &lt; well\n"


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("mkdir -p /opt/app; echo mine > /opt/app/file", "/opt/app is not empty and not this release"),
        ("echo mine > /opt/app", "/opt/app is not a folder"),
        ("ln -s /tmp /opt/app", "/opt/app is not a folder"),
        (f"sh {HOUSE}/install.sh /opt/app; echo evil >> /opt/app/bin/tinyapp", "not this release"),
        (
            f"sh {HOUSE}/install.sh /opt/app; rm /opt/app/lib/python3.11/site-packages/click/core.py",
            "not this release",
        ),
        (
            f"sh {HOUSE}/install.sh /opt/app; echo > /opt/app/lib/python3.11/site-packages/evil.pth",
            "not this release",
        ),
    ],
)
def test_what_is_there_is_left_alone(before: str, message: str, house: Path, tmp_path: Path) -> None:
    _text(_run(before, _opt(tmp_path), house=house))
    there = _installed(tmp_path)
    outcome = _run("sh install.sh /opt/app", _opt(tmp_path), house=house)
    assert outcome.returncode == 1
    assert message in outcome.tail
    assert _installed(tmp_path) == there


def _changed_wheel(house: Path) -> None:
    (wheel,) = (house / "wheels").glob("click-*")
    wheel.write_bytes(wheel.read_bytes() + b"\0")


def _lying_wheel(house: Path) -> None:
    """Its sha256 is told right, its RECORD is not."""
    (wheel,) = (house / "wheels").glob("click-*")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("evil.py", "evil = 1\n")
    _tell(house, wheel)


def _escaping_wheel(house: Path) -> None:
    (wheel,) = (house / "wheels").glob("click-*")
    made = image_stage.make_wheel(house, "click", "8.1.7", {"../../../../evil.py": "evil = 1\n"})
    made.replace(wheel)
    _tell(house, wheel)


def _two_owners(house: Path) -> None:
    (wheel,) = (house / "wheels").glob("click-*")
    made = image_stage.make_wheel(house, "click", "8.1.7", {"tinyapp/__init__.py": "evil = 1\n"})
    made.replace(wheel)
    _tell(house, wheel)


def _tell(house: Path, wheel: Path) -> None:
    facts = json.loads((house / "wheelhouse.json").read_text())
    for one in facts["wheels"]:
        if one["file"] == wheel.name:
            one["sha256"] = files.sha256_file(wheel)
    (house / "wheelhouse.json").write_text(json.dumps(facts, indent=1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_changed_wheel, "was changed: its sha256 is not"),
        (_lying_wheel, "holds evil.py, which its RECORD does not say"),
        (_escaping_wheel, "leads out of its place"),
        (_two_owners, "two wheels install lib/python3.11/site-packages/tinyapp/__init__.py"),
    ],
)
def test_wrong_wheel_is_refused_and_nothing_stays(
    damage: Callable[[Path], None], message: str, house: Path, tmp_path: Path
) -> None:
    wrong = shutil.copytree(house, tmp_path / "house")
    damage(wrong)
    outcome = _run("sh install.sh /opt/venvs/app", _opt(tmp_path), house=wrong)
    assert outcome.returncode == 4, outcome.tail
    assert message in outcome.tail
    assert not _installed(tmp_path / "opt")


def _tell_fact(house: Path, **changed: object) -> None:
    facts = json.loads((house / "wheelhouse.json").read_text())
    (house / "wheelhouse.json").write_text(json.dumps({**facts, **changed}, indent=1) + "\n")


@pytest.mark.parametrize(
    ("facts", "code", "message"),
    [
        ({"python": "3.10"}, 1, "these wheels are for Python 3.10"),
        ({"machine": "riscv64"}, 1, "these wheels are for riscv64, this host is x86_64"),
        ({"glibc": [2, 99]}, 1, "these wheels need glibc 2.99"),
        ({"scripts": ["tinyapp", "lost"]}, 4, "the commands lost are missing"),
        ({"version": "9.9"}, 1, "does not find tinyapp 9.9"),
        ({"interpreter": "/usr/bin/python9.9", "python": "9.9"}, 5, "apt install python9.9"),
    ],
)
def test_host_that_does_not_fit(facts: dict[str, object], code: int, message: str, house: Path, tmp_path: Path) -> None:
    wrong = shutil.copytree(house, tmp_path / "house")
    _tell_fact(wrong, **facts)
    outcome = _run("sh install.sh /opt/app", _opt(tmp_path), house=wrong)
    assert outcome.returncode == code, outcome.tail
    assert message in outcome.tail
    assert list((tmp_path / "opt").iterdir()) == []


@pytest.mark.parametrize("arguments", ["", "--wrong /opt/app", "/opt/a /opt/b", "--python"])
def test_usage(arguments: str, house: Path, tmp_path: Path) -> None:
    outcome = _run(f"sh install.sh {arguments}", _opt(tmp_path), house=house)
    assert outcome.returncode == 2
    assert "usage: sh install.sh DEST" in outcome.tail


def test_python_can_be_named(house: Path, tmp_path: Path) -> None:
    install = "sh install.sh /opt/app --python /tmp/mine >&2"
    script = f"ln -s {PYTHON} /tmp/mine; {install}; readlink /opt/app/bin/python"
    assert _text(_run(script, _opt(tmp_path), house=house)) == "/usr/bin/python3.11\n"
    outcome = _run("sh install.sh /opt/b --python=nowhere", _opt(tmp_path), house=house)
    assert outcome.returncode == 5
    assert "nowhere is not on this host" in outcome.tail


def test_stopped_in_the_middle_nothing_stays(house: Path, tmp_path: Path) -> None:
    """Stopped as soon as files are being laid."""
    script = """
        sh install.sh /opt/app & pid=$!
        while [ -z "$(find /opt -name '*.py')" ]; do :; done
        kill $pid; wait $pid || echo "$?"
    """
    assert _text(_run(script, _opt(tmp_path), house=house)) == "143\n"
    assert list((tmp_path / "opt").iterdir()) == []


def test_wheelhouse_on_read_only_media_stays_as_it_is(house: Path, tmp_path: Path) -> None:
    before = _installed(house)
    _text(_run("sh install.sh /opt/app", _opt(tmp_path), house=house))
    assert _installed(house) == before


def test_script_is_posix_and_clean() -> None:
    script = share.path("builders", "wheel", "install.sh")
    subprocess.run(["shellcheck", "--shell=sh", str(script)], check=True)


# Reading what is not as it should be


def _repacked(path: Path, into: Path, change: Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """The wheelhouse with its members changed."""
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    with tarfile.open(path) as archive:
        for info in archive:
            stream = archive.extractfile(info)
            assert stream is not None
            members[info.name] = (info, stream.read())
    change(members)
    made = into / path.name
    with tarfile.open(made, "w") as out:
        for info, data in members.values():
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return made


Members = dict[str, tuple[tarfile.TarInfo, bytes]]


def _the(members: Members, start: str) -> str:
    return next(name for name in members if name.startswith(start))


def _without_a_wheel(members: Members) -> None:
    del members[_the(members, "wheels/click")]


def _with_another_wheel(members: Members) -> None:
    _, data = members[_the(members, "wheels/click")]
    extra = tarfile.TarInfo("wheels/evil-1.0-py3-none-any.whl")
    members[extra.name] = (extra, data)


def _with_a_link(members: Members) -> None:
    extra = tarfile.TarInfo("wheels/link")
    extra.type, extra.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members[extra.name] = (extra, b"")


def _leading_out(members: Members) -> None:
    extra = tarfile.TarInfo("../evil")
    members[extra.name] = (extra, b"")


def _absolute(members: Members) -> None:
    extra = tarfile.TarInfo("/evil")
    members[extra.name] = (extra, b"")


def _without_lock(members: Members) -> None:
    del members["pylock.toml"]


def _other_hash_in_requirements(members: Members) -> None:
    info, data = members["requirements.txt"]
    members["requirements.txt"] = (info, data.replace(b"sha256:", b"sha256:0", 1))


def _wheel_that_is_none(members: Members) -> None:
    name = _the(members, "wheels/click")
    members[name] = (members[name][0], b"no zip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_a_wheel, "does not name the wheels that are there: click-"),
        (_with_another_wheel, "does not name the wheels that are there: evil-1.0"),
        (_with_a_link, "holds what it must not: 'wheels/link'"),
        (_leading_out, "holds what it must not: '../evil'"),
        (_absolute, "holds what it must not: '/evil'"),
        (_without_lock, "an index of the wheelhouse cannot be read"),
        (_other_hash_in_requirements, "requirements.txt does not name the wheels"),
        (_wheel_that_is_none, "cannot be read"),
    ],
)
def test_wrong_wheelhouse_is_refused(
    change: Callable[[Members], None], message: str, artifacts: dict[ArtifactKind, Artifact], tmp_path: Path
) -> None:
    wrong = _repacked(artifacts["wheelhouse"].path, tmp_path, change)
    with pytest.raises(VerificationError, match=message):
        _read(artifacts["wheelhouse"], wrong)


def _other_script(members: Members) -> None:
    info, data = members["install.sh"]
    members["install.sh"] = (info, data + b"rm -rf /\n")


def _other_mode(members: Members) -> None:
    members["install.sh"][0].mode = 0o4755


def _one_more_file(members: Members) -> None:
    extra = tarfile.TarInfo("setup.sh")
    members[extra.name] = (extra, b"#!/bin/sh\n")


@pytest.mark.parametrize(
    ("change", "named"),
    [(_other_script, "install.sh"), (_other_mode, "install.sh"), (_one_more_file, "setup.sh")],
)
def test_changed_wheelhouse_differs_by_name(
    change: Callable[[Members], None],
    named: str,
    stage: Stage,
    artifacts: dict[ArtifactKind, Artifact],
    tmp_path: Path,
) -> None:
    wrong = _repacked(artifacts["wheelhouse"].path, tmp_path, change)
    found = _read(artifacts["wheelhouse"], wrong)
    (line,) = tree.difference(_expected(artifacts["wheelhouse"], stage), found.entries)
    assert named in line


def test_wheel_whose_content_is_another_differs_by_name(
    stage: Stage, artifacts: dict[ArtifactKind, Artifact], tmp_path: Path
) -> None:
    made = small_stage.app_wheel(tmp_path, scripts=("tinyapp", "extra"))
    found = _read(artifacts["wheel"], made)
    (line,) = tree.difference(_expected(artifacts["wheel"], stage), found.entries)[:1]
    assert "opt/venvs/tinyapp/" in line


@pytest.mark.parametrize("kind", ["wheel", "sdist", "wheelhouse"])
@pytest.mark.parametrize("keep", [0, 0.1, 0.5, 0.9])
def test_truncated_artifact_is_refused(
    kind: ArtifactKind, keep: float, artifacts: dict[ArtifactKind, Artifact], tmp_path: Path
) -> None:
    path = tmp_path / artifacts[kind].file
    whole = artifacts[kind].path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(VerificationError):
        _read(artifacts[kind], path)


def test_sdist_without_metadata_is_refused(artifacts: dict[ArtifactKind, Artifact], tmp_path: Path) -> None:
    top = tmp_path / "tinyapp-1"
    top.mkdir()
    (top / "setup.py").touch()
    with pytest.raises(VerificationError, match="one PKG-INFO below its top folder, not 0"):
        _read(artifacts["sdist"], backends.sdist_of(top, tmp_path / "out"))


def test_wheel_needs_to_know_the_python(artifacts: dict[ArtifactKind, Artifact]) -> None:
    with pytest.raises(VerificationError, match="the target's Python"):
        WheelBuilder().read(artifacts["wheel"].path, "wheel", name="tinyapp", interpreter="")
