"""A project's own targets: what they become, and everything that can be wrong with them."""

from __future__ import annotations

import importlib
import json
import shutil
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import config, definition
from buildonce import target as targets
from buildonce.errors import ConfigurationError
from buildonce.system import share

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.model import Target

WHERE = "pyproject.toml: tool.release.targets"
# A shipped file, word for word, as the table of a project.
OPTIONAL = ("revision", "units", "glibcxx", "cxxabi", "#")
WHOLE = share.path("builders", "targets", "debian-12.toml").read_text("utf-8")


def read(root: Path, text: str) -> tuple[Target, ...]:
    (root / "pyproject.toml").write_text(text)
    return targets.of(config.read(root))


def one(root: Path, table: str, name: str = "corporate-12") -> Target:
    (found,) = read(root, f"[tool.release.targets.{name}]\n{table}")
    return found


def problems(root: Path, text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        read(root, text)
    assert caught.value.exit_code == 3
    return [(p.message, p.where, p.hint) for p in caught.value.problems]


def test_a_list_of_names_is_short_for_empty_tables(tmp_path: Path) -> None:
    tables = "[tool.release.targets.debian-13]\n[tool.release.targets.debian-12]\n"
    short = read(tmp_path, '[tool.release]\ntargets = ["debian-13", "debian-12"]\n')
    assert read(tmp_path, tables) == short == (targets.load("debian-13"), targets.load("debian-12"))


def test_release_toml_has_the_same_tables(tmp_path: Path) -> None:
    (tmp_path / "release.toml").write_text('[targets.corporate-12]\nlike = "debian-12"\n')
    assert targets.of(config.read(tmp_path))[0].revision == "+corporate12"


def test_what_is_said_replaces_and_lists_grow_or_shrink(tmp_path: Path) -> None:
    debian = targets.load("debian-12")
    found = one(
        tmp_path,
        """like = "debian-12"
        revision = "+corp12.1"
        glibcxx = "3.4.31"
        python = "3.11.9"
        toolchain = ["-git", "cmake"]
        runtime = ["corporate-certificates"]
        alternatives = { "/usr/bin/awk" = "gawk", "/usr/bin/vi" = "vim.tiny" }
        """,
    )
    assert found.name == "corporate-12"
    assert (found.revision, found.glibcxx, found.python) == ("+corp12.1", (3, 4, 31), "3.11.9")
    assert (found.codename, found.cxxabi, found.units) == (debian.codename, debian.cxxabi, debian.units)
    assert set(found.toolchain) == {*debian.toolchain, "cmake"} - {"git"}
    assert found.runtime == (*debian.runtime, "corporate-certificates")
    assert dict(found.alternatives) == {
        **dict(debian.alternatives),
        "/usr/bin/awk": "gawk",
        "/usr/bin/vi": "vim.tiny",
    }


def test_a_shipped_target_can_be_changed_under_its_own_name(tmp_path: Path) -> None:
    found, debian = one(tmp_path, 'toolchain = ["cmake"]', name="debian-12"), targets.load("debian-12")
    assert (found.name, found.revision) == (debian.name, debian.revision)
    assert found.toolchain == (*debian.toolchain, "cmake")


def test_a_shipped_file_pasted_into_a_project_is_the_same_target(tmp_path: Path) -> None:
    pasted = WHOLE.replace("[alternatives]", "[tool.release.targets.corporate-12.alternatives]")
    assert one(tmp_path, pasted) == replace(targets.load("debian-12"), name="corporate-12")


def test_what_has_a_default_can_be_left_out(tmp_path: Path) -> None:
    kept = [line for line in WHOLE.partition("[alternatives]")[0].splitlines() if not line.startswith(OPTIONAL)]
    found = one(tmp_path, "\n".join(kept))
    assert (found.revision, str(found.units)) == ("+corporate12", "/usr/lib/systemd/system")
    assert (found.glibcxx, found.cxxabi, found.alternatives) == ((), (), ())


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", ("unknown target 'debain-13'", "", "did you mean 'debian-13'?")),
        ('like = "debain-12"', ("unknown target 'debain-12'", ".like", "did you mean 'debian-12'?")),
        ('like = "debian-12"\nrevison = "+x"', ("unknown key 'revison'", ".revison", "did you mean 'revision'?")),
        (
            'like = "debian-12"\ntoolchain = ["-gitt"]',
            ("'-gitt' takes away what is not in the toolchain of debian-12", ".toolchain", "did you mean '-git'?"),
        ),
        (
            'like = "debian-12"\npython = "3.13.1"',
            (
                "the interpreter /usr/bin/python3.11 is not of Python 3.13.1",
                ".interpreter",
                "its name has to be python3.13: give both `python` and `interpreter`",
            ),
        ),
        (
            'like = "debian-12"\npython = "3.13.1"\ninterpreter = "/opt/bin/python3.13"',
            (
                "no OS package brings the interpreter python3.13",
                "",
                'add "python3.13" to `toolchain` and `runtime`, "python3.13-dev" and "python3.13-venv" to `toolchain`',
            ),
        ),
        ("python = 3.11", ("expected text, found the number 3.11", ".python", "")),
        ('toolchain = "git"', ("expected a list, found the text 'git'", ".toolchain", "")),
    ],
)
def test_what_is_wrong_with_one(tmp_path: Path, table: str, problem: tuple[str, str, str]) -> None:
    message, where, hint = problem
    assert problems(tmp_path, f"[tool.release.targets.debain-13]\n{table}") == [
        (message, f"{WHERE}.debain-13{where}", hint)
    ]


def test_what_a_table_of_its_own_lacks_is_listed(tmp_path: Path) -> None:
    ((message, where, hint),) = problems(tmp_path, '[tool.release.targets.corporate-12]\ncodename = "corp"\n')
    assert message.startswith("the target says nothing of distribution, release, architecture, machine")
    assert not {"codename", "revision", "units"} & set(message.replace(",", "").split())
    assert where == f"{WHERE}.corporate-12"
    assert hint == 'add them, or start from a shipped target: like = "debian-12"'


def test_every_problem_of_every_target_at_once(tmp_path: Path) -> None:
    text = "[tool.release.targets.debain-13]\n[tool.release.targets.corporate]\nlike = 'debian-12'\n"
    assert [message for message, *_ in problems(tmp_path, text)] == [
        "unknown target 'debain-13'",
        "'corporate' is not a name for a target",
    ]


@pytest.mark.parametrize("name", ["version", "a", "Debian-12", "a_b-c", "a--b", "-a-b", "a-b-", "a.b-c", "1-a"])
def test_names_that_could_not_stand_in_file_names_and_locks(tmp_path: Path, name: str) -> None:
    text = f"[tool.release.targets.{json.dumps(name)}]\nlike = 'debian-12'\n"
    assert problems(tmp_path, text)[0][0] == f"{name!r} is not a name for a target"


def test_two_targets_whose_files_would_have_one_name(tmp_path: Path) -> None:
    text = "[tool.release.targets.debian-12]\n[tool.release.targets.corporate-12]\nlike = 'debian-12'\n"
    assert [target.revision for target in read(tmp_path, text)] == ["+deb12", "+corporate12"]
    assert problems(tmp_path, text + 'revision = "+deb12"\n') == [
        (
            "debian-12 and corporate-12 both have the revision +deb12: their files would have the same names",
            f"{WHERE}.corporate-12.revision",
            'give it one of its own, such as revision = "+corporate12"',
        )
    ]


def test_of_two_architectures_one_revision_is_no_clash(tmp_path: Path) -> None:
    text = "[tool.release.targets.debian-12]\n[tool.release.targets.corporate-12]\nlike = 'debian-12'\n"
    assert len(read(tmp_path, text + 'revision = "+deb12"\narchitecture = "arm64"\nmachine = "aarch64"\n')) == 2


BAD = {
    "distribution": ["Debian", "de bian"],
    "codename": ["book/worm", "Bookworm"],
    "machine": ["amd64", "s390x"],
    "multiarch": ["x86_64"],
    "glibc": ["2", "musl-1.2", "2.36\n"],
    "glibcxx": ["3"],
    "python": ["3.11", "2.7.18", "3.11.2rc1"],
    "interpreter": ["python3.11", "/usr/bin/../python3.11", "/usr/bin/python 3.11"],
    "revision": ["deb12", "+deb-12", "+Deb12", "+", "+deb12\n"],
    "units": ["lib/systemd/system"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_values_that_would_mean_something_else_further_down(tmp_path: Path, key: str, value: str) -> None:
    text = f'[tool.release.targets.corporate-12]\nlike = "debian-12"\n{key} = {json.dumps(value)}\n'
    ((message, where, _),) = problems(tmp_path, text)
    assert message.startswith(f"{value!r} is not ")
    assert where == f"{WHERE}.corporate-12.{key}"


def test_the_schema_takes_a_shipped_file_and_a_list_of_names() -> None:
    jsonschema = importlib.import_module("jsonschema")
    validator = jsonschema.Draft202012Validator(config.json_schema())
    table = {"like": "debian-12", "toolchain": ["-git"], "revision": "+corp12"}
    whole: Any = tomllib.loads(WHOLE)
    for good in (["debian-12", "debian-13"], {"corporate-12": table}, {"corporate-12": whole}):
        assert [error.message for error in validator.iter_errors({"targets": good})] == []
    for bad in (
        [],
        {},
        ["debain-12"],
        {"corporate-12": {**table, "like": "x"}},
        {"corporate-12": {"zzz": 1}},
        "debian-12",
    ):
        assert list(validator.iter_errors({"targets": bad})), bad


@pytest.mark.parametrize("name", definition.shipped())
def test_a_shipped_file_has_no_problems_of_its_own(name: str) -> None:
    assert list(definition.problems({name: definition.TargetTable()}, "")) == []
    said = definition.facts(name, definition.TargetTable())
    assert said["revision"] != f"+{name.replace('-', '')}"  # it is not left to the default


def test_one_more_file_is_all_that_a_new_shipped_target_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "share"
    shutil.copytree(share.path("builders", "targets"), place / "builders/targets")
    text = WHOLE.replace('"12"', '"99"').replace('"bookworm"', '"duke"').replace('"+deb12"', '"+deb99"')
    (place / "builders/targets/debian-99.toml").write_text(text)
    monkeypatch.setattr(share, "_root", lambda: place)

    assert "debian-99" in targets.names()
    found = read(tmp_path, '[tool.release]\ntargets = ["debian-12", "debian-99"]\n')
    assert [target.codename for target in found] == ["bookworm", "duke"]
    assert one(tmp_path, 'like = "debian-99"', name="corporate-99").codename == "duke"
    enum = config.json_schema()["properties"]["targets"]["anyOf"][0]["items"]["enum"]
    assert enum == list(targets.names())
    assert "did you mean 'debian-99'?" in str(problems(tmp_path, '[tool.release]\ntargets = ["debian99"]\n'))


ARM = """like = "debian-12"
architecture = "arm64"
machine = "aarch64"
multiarch = "aarch64-linux-gnu"
"""


def test_a_target_can_be_built_on_another_of_the_project(tmp_path: Path) -> None:
    changed, arm = read(
        tmp_path,
        """[tool.release.targets.debian-12]
        toolchain = ["cmake"]
        [tool.release.targets.debian-12-arm64]
        libraries = ["libicu72", "-libgomp1"]
        """,
    )
    assert arm.builder == changed != targets.load("debian-12")
    assert set(arm.libraries) == {*targets.load("debian-12-arm64").libraries, "libicu72"} - {"libgomp1"}


def test_without_its_own_build_root_a_target_needs_no_toolchain(tmp_path: Path) -> None:
    text = share.path("builders", "targets", "debian-12-arm64.toml").read_text("utf-8")
    assert one(tmp_path, text) == replace(targets.load("debian-12-arm64"), name="corporate-12")
    ((message, _, _),) = problems(
        tmp_path, "[tool.release.targets.corporate-12]\n" + text.replace('build_on = "debian-12"', "")
    )
    assert message == "the target says nothing of toolchain"


def test_an_architecture_can_have_a_build_root_of_its_own(tmp_path: Path) -> None:
    found = one(tmp_path, ARM)
    assert (found.builder, found.architecture, found.toolchain) == (found, "arm64", targets.load("debian-12").toolchain)


@pytest.mark.parametrize("other", ["debian-13", "debian-12-arm64", "corporate-12", "other-13"])
def test_a_target_can_only_be_built_on_one_with_the_same_python_and_a_root_of_its_own(
    other: str, tmp_path: Path
) -> None:
    """Not on another Python, not on one that is built on another itself, not on itself."""
    text = f'''[tool.release.targets.other-13]\nlike = "debian-13"
    [tool.release.targets.corporate-12]\n{ARM}build_on = "{other}"\n'''
    ((message, where, _),) = problems(tmp_path, text)
    assert message.startswith(f"corporate-12 cannot be built on {other}: ")
    assert where == f"{WHERE}.corporate-12.build_on"


def test_what_a_target_is_built_on_has_to_be_there(tmp_path: Path) -> None:
    text = f'[tool.release.targets.corporate-12]\n{ARM}build_on = "debian12"\n'
    ((message, _, _),) = problems(tmp_path, text)
    assert "is not the name of a target" in message
    ((message, where, hint),) = problems(tmp_path, text.replace("debian12", "debain-12"))
    assert (message, where) == ("unknown target 'debain-12'", f"{WHERE}.corporate-12.build_on")
    assert hint == "did you mean 'debian-12'?"
