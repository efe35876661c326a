"""release.json: what is written is read again; what is not exactly it is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildonce import manifest
from buildonce.errors import VerificationError
from buildonce.manifest import Built
from buildonce.model import Artifact, ArtifactKind, Digest, Entry, Source, Target, Tree, Version
from buildonce.system import canonical
from tests import small_release

words = st.text(st.characters(codec="utf-8"), max_size=12)
digests = st.binary(min_size=32, max_size=32).map(lambda data: Digest(data.hex()))
commits = st.binary(min_size=20, max_size=20).map(bytes.hex)
sizes = st.integers(0, 2**53 - 1)
parts = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
paths = st.lists(parts.filter(lambda part: part not in (".", "..")), min_size=1, max_size=4).map("/".join)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+~!=@-]{0,30}", fullmatch=True)
plain_entries = st.builds(
    Entry,
    path=paths,
    kind=st.sampled_from(["file", "script", "record", "bytecode"]),
    mode=st.integers(0, 0o7777),
    size=sizes,
    sha256=digests,
    dist=words,
)
link_entries = st.builds(
    Entry, path=paths, kind=st.just("link"), mode=st.just(0o777), link=words.filter(bool), dist=words
)
entries = st.lists(plain_entries | link_entries, max_size=6, unique_by=lambda entry: entry.path).map(
    lambda found: tuple(sorted(found))
)
versions = st.builds(Version, pep440=words, debian=words, oci=words)
sources = st.builds(
    Source,
    commit=commits,
    tree=commits,
    epoch=sizes,
    tag=words,
    url=words,
    dirty=st.none() | digests,
    changes=st.just(()),
    folder=st.just("") | paths,
)
targets = st.builds(
    Target,
    **{field.name: words for field in dataclasses.fields(Target) if field.type == "str"},
    glibc=st.tuples(st.integers(0, 9), st.integers(0, 99)),
    glibcxx=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    cxxabi=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    interpreter=words.map(PurePosixPath),
    units=words.map(PurePosixPath),
    toolchain=st.lists(words, max_size=3).map(tuple),
    runtime=st.lists(words, max_size=3).map(tuple),
    alternatives=st.lists(st.tuples(words, words), max_size=3).map(tuple),
)
built = st.builds(Built, target=targets, tree=st.builds(Tree, entries=entries), stage=digests)


@st.composite
def releases(draw: st.DrawFn) -> dict[str, Any]:
    """The arguments of manifest.make()."""
    made = draw(st.lists(built, min_size=1, max_size=3, unique_by=lambda one: one.target.name))
    artifacts = st.builds(
        Artifact,
        kind=st.sampled_from(get_args(ArtifactKind)),
        path=names.map(Path),
        sha256=digests,
        size=sizes,
        target=st.sampled_from(["", *(one.target.name for one in made)]),
        extras=entries,
    )
    return {
        "name": draw(st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True)),
        "version": draw(versions.filter(lambda version: version.pep440)),
        "source": draw(sources),
        "locks": draw(st.dictionaries(words, digests, max_size=3)),
        "targets": made,
        "artifacts": draw(st.lists(artifacts, min_size=1, max_size=4, unique_by=lambda one: one.file)),
        "tools": draw(st.dictionaries(words, words, max_size=3)),
    }


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(releases())
def test_what_is_written_is_read_again(release: dict[str, Any]) -> None:
    data = manifest.make(**release)
    found = manifest.read(data)

    assert found.data == data
    assert {key: getattr(found, key) for key in ("name", "version", "source", "locks", "tools")} == {
        key: release[key] for key in ("name", "version", "source", "locks", "tools")
    }
    assert found.targets == tuple(sorted(release["targets"], key=lambda one: one.target.name))
    assert found.artifacts == tuple(sorted(release["artifacts"], key=lambda one: one.file))
    again = manifest.make(**{key: getattr(found, key) for key in release})
    assert again == data


def test_the_order_of_the_arguments_is_not_seen(tmp_path: Path) -> None:
    made = small_release.artifacts(tmp_path)
    stage = small_release.stage(tmp_path)

    forth, back = (_document(stage, order) for order in (made, tuple(reversed(made))))

    assert forth == back


def _document(stage: Any, artifacts: Any) -> bytes:
    return manifest.make(
        name="tinyapp",
        version=small_release.VERSION,
        source=small_release.SOURCE,
        locks=small_release.LOCKS,
        targets=[Built(target=stage.target, tree=stage.tree, stage=stage.digest)],
        artifacts=artifacts,
        tools=small_release.TOOLS,
    )


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("release")
    return _document(small_release.stage(folder), small_release.artifacts(folder))


def test_every_fact_of_a_target_is_told(document: bytes) -> None:
    told = json.loads(document)["predicate"]["targets"][0]

    only_elsewhere = {"libraries", "build_on"}
    assert told.keys() - {"deb", "stage"} == {field.name for field in dataclasses.fields(Target)} - only_elsewhere
    assert told["deb"] == "1.2.4~~dev5+g1a2b3c4-1+deb12"


def foreign() -> Target:
    return dataclasses.replace(
        small_release.target(), name="debian-12-arm64", libraries=("libc6",), build_on=small_release.target()
    )


def test_a_target_that_is_built_on_another_is_told_with_it(tmp_path: Path) -> None:
    stage = small_release.stage(tmp_path, on=foreign())

    data = _document(stage, small_release.artifacts(tmp_path)[:1])

    told = json.loads(data)["predicate"]["targets"][0]
    assert told.keys() - {"deb", "stage"} == {field.name for field in dataclasses.fields(Target)}
    assert told["build_on"]["name"] == "debian-12"
    assert manifest.read(data).targets[0].target == stage.target


@pytest.mark.parametrize("change", [{"more": 1}, {"build_on": {}}])
def test_what_a_target_is_built_on_holds_nothing_else(change: dict[str, Any], tmp_path: Path) -> None:
    stage = small_release.stage(tmp_path, on=foreign())
    value = json.loads(_document(stage, small_release.artifacts(tmp_path)[:1]))
    value["predicate"]["targets"][0]["build_on"] |= change

    with pytest.raises(VerificationError, match="build_on"):
        manifest.read(canonical.dump(value))


def test_the_subjects_are_the_artifacts(document: bytes) -> None:
    value = json.loads(document)

    assert value["predicateType"] == "https://in-toto.io/attestation/release/v0.1"
    assert {one["name"]: one["digest"]["sha256"] for one in value["subject"]} == {
        one["file"]: one["sha256"] for one in value["predicate"]["artifacts"]
    }


def test_an_artifact_finds_its_target(document: bytes) -> None:
    found = manifest.read(document)

    assert found.built("debian-12").target.name == "debian-12"
    assert found.built("") == found.targets[0]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value in *value* is, by keys and indices."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def changed(document: bytes, place: tuple[Any, ...], new: object) -> bytes:
    value = {"": json.loads(document)}
    *outer, last = ("", *place)
    at: Any = value
    for key in outer:
        at = at[key]
    at[last] = new
    return canonical.dump(value[""])


@pytest.mark.parametrize("wrong", [None, [], {}, True, -1, 2**60, "\u2028", {"a": 1}, [[1]], "0" * 63])
def test_a_value_of_another_kind_is_refused_wherever_it_stands(document: bytes, wrong: object) -> None:
    for place in places(json.loads(document)):
        try:
            data = changed(document, place, wrong)
        except ValueError:  # no canonical JSON has it
            assert wrong == 2**60
            continue
        refused = _refusal(data)
        assert refused in ("release.json", None)
        assert refused or isinstance(wrong, str | list | dict), place


def _refusal(data: bytes) -> str | None:
    """The file that the refusal names; None when *data* is a manifest."""
    try:
        manifest.read(data)
    except VerificationError as error:
        return error.problems[0].where
    return None


@pytest.mark.parametrize(
    ("place", "wrong", "message"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1", "_type has to be"),
        (("predicateType",), "https://slsa.dev/provenance/v1", "predicateType has to be"),
        (("more",), 1, "more is unknown"),
        (("subject", 0, "digest", "sha256"), "0" * 64, "are not the subjects"),
        (("subject", 0, "name"), "../x", "not a plain file name"),
        (("subject", 0, "digest"), {"md5": "x"}, "is missing|is unknown"),
        (("predicate", "name"), "../x", "not a normalised name"),
        (("predicate", "purl"), "pkg:pypi/other@1", "purl has to be"),
        (("predicate", "source", "commit"), "x", r"source\.commit is not a git object name"),
        (("predicate", "targets", 0, "deb"), "1", r"targets\[0\]\.deb has to be"),
        (("predicate", "targets", 0, "glibc"), [2], "two whole numbers"),
        (("predicate", "targets", 0, "alternatives"), [["x"]], "pairs of strings"),
        (("predicate", "targets", 0, "name"), "other", "other is missing"),
        (("predicate", "trees", "other"), {}, "same targets"),
        (("predicate", "trees", "debian-12", "digest"), "0" * 64, "digest has to be"),
        (("predicate", "trees", "debian-12", "entries", 0, 0), "../x", r"entries\[0\] is not \[path"),
        (("predicate", "trees", "debian-12", "entries", 0, 0), "/x", r"entries\[0\] is not \[path"),
        (("predicate", "trees", "debian-12", "entries", 0, 1), "device", r"entries\[0\] is not \[path"),
        (("predicate", "trees", "debian-12", "entries", 0, 2), 0o100644, r"entries\[0\] is not \[path"),
        (("predicate", "trees", "debian-12", "entries", 0, 4), "", r"entries\[0\] is not \[path"),
        (("predicate", "trees", "debian-12", "entries", 0, 5), "x", r"entries\[0\] is not \[path"),
        (("predicate", "artifacts", 0, "kind"), "rpm", r"artifacts\[0\]\.kind has to be"),
        (("predicate", "artifacts", 0, "target"), "debian-99", r"artifacts\[0\]\.target has to be"),
    ],
)
def test_a_wrong_value_is_named(document: bytes, place: tuple[Any, ...], wrong: object, message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        manifest.read(changed(document, place, wrong))


def test_rows_have_to_be_sorted_and_single(document: bytes) -> None:
    row = json.loads(document)["predicate"]["trees"]["debian-12"]["entries"][0]

    with pytest.raises(VerificationError, match="sorted by path, each path once"):
        manifest.read(changed(document, ("predicate", "trees", "debian-12", "entries"), [row, row]))


def test_an_artifact_named_twice_is_refused(document: bytes) -> None:
    rows = json.loads(document)["predicate"]["artifacts"]

    with pytest.raises(VerificationError, match="are not the subjects"):
        manifest.read(changed(document, ("predicate", "artifacts"), [*rows, rows[-1]]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b"\n",
        lambda data: data.replace(b'"name"', b'"name" ', 1),
        lambda data: data.replace(b'"tools":', b'"tools":{},"tools":', 1),
        lambda data: data.replace(b'"epoch":1700000000', b'"epoch":1.7e9', 1),
        lambda data: data.replace(b"tinyapp", b"tiny\\u0061pp", 1),
    ],
    ids=["line end", "space", "key twice", "fraction", "escape"],
)
def test_another_spelling_of_the_same_is_refused(document: bytes, spoil: Any) -> None:
    assert spoil(document) != document
    with pytest.raises(VerificationError, match="JSON"):
        manifest.read(spoil(document))


@given(st.binary(max_size=300))
def test_noise_raises_nothing_but_our_error(noise: bytes) -> None:
    with pytest.raises(VerificationError):
        manifest.read(noise)


def test_a_tree_of_6000_files_stays_below_one_and_a_half_megabytes() -> None:
    folder = "opt/venvs/orders/lib/python3.11/site-packages/sqlalchemy/dialects/postgresql/__pycache__"
    found = tuple(
        Entry(
            path=f"{folder}/module_{number:04}.cpython-311.pyc",
            kind="bytecode",
            size=12345,
            sha256=small_release.digest(str(number)),
            dist="sqlalchemy",
        )
        for number in range(6000)
    )
    made = Built(target=small_release.target(), tree=Tree(entries=found), stage=small_release.digest("stage"))
    artifact = Artifact(kind="pex", path=Path("a.pex"), sha256=small_release.digest("a"), size=1)

    data = manifest.make(
        name="orders",
        version=small_release.VERSION,
        source=small_release.SOURCE,
        locks={},
        targets=[made],
        artifacts=[artifact],
        tools={},
    )

    assert len(data) < 1_500_000
    assert manifest.read(data).targets == (made,)


@pytest.mark.parametrize("folder", ["../elsewhere", "/etc", "a//b", "", "a/.", 7])
def test_a_project_outside_of_its_repository_is_refused(folder: object, document: bytes) -> None:
    data = json.loads(document)
    data["predicate"]["source"]["folder"] = folder
    with pytest.raises(VerificationError, match="folder"):
        manifest.read(canonical.dump(data))
