"""SLSA provenance v1 (slsa.dev/spec/v1.1/build-provenance): from which inputs, by which builder, the
artifacts were made.

``provenance.json`` holds no time, no host and no run: it is the same bytes wherever the same commit, lock and
tool version are built. Which kind of machine built is said by whoever signs, in the signed copy (:func:`by`),
and believed as far as their key is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from buildonce import purl, statement
from buildonce.system import canonical, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packageurl import PackageURL

    from buildonce.model import Artifact, Chosen, Digest, RemoteFile, Source, Wheel
    from buildonce.stage import Stage

__all__ = ["FILE", "Mode", "by", "make", "recipe", "unsigned"]

FILE: Final = "provenance.json"
Mode = Literal["workstation", "ci"]

BUILD_TYPE: Final = "urn:buildonce:build:v1"
_BUILDER: Final = "urn:buildonce:builder:v1"
_BUILDERS: Final = {mode: f"urn:buildonce:builder:{mode}:v1" for mode in get_args(Mode)}

_Descriptor = dict[str, object]


def make(
    stages: Sequence[Stage],
    *,
    artifacts: Iterable[Artifact],
    locks: Mapping[str, Digest],
    build: Iterable[Chosen],
    tools: Mapping[str, str],
    byproducts: Mapping[str, Digest],
) -> bytes:
    """The statement's bytes. *build* is every locked build requirement, *tools* a tool that decides bytes to
    its version.

    *byproducts* maps other files of the release (the SBOM) to their sha256.
    """
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": _asked(stages, artifacts := tuple(artifacts)),
        "internalParameters": {
            "SOURCE_DATE_EPOCH": str(stages[0].source.epoch),
            "PYTHONHASHSEED": "0",
            "network": "none",
            "umask": "022",
        },
        "resolvedDependencies": _dependencies(stages, locks, tuple(build)),
    }
    details = {
        "builder": {"id": _BUILDER, "version": dict(tools)},
        "byproducts": [{"name": name, "digest": {"sha256": byproducts[name]}} for name in sorted(byproducts)],
    }
    return statement.make(
        statement.PROVENANCE,
        statement.subjects(artifacts),
        {"buildDefinition": definition, "runDetails": details},
    )


def recipe(data: bytes) -> Digest:
    """Names the inputs: equal for two builds that ought to give the same bytes."""
    return files.sha256_bytes(canonical.dump(_read(data).predicate.fields("buildDefinition").value))


def by(data: bytes, mode: Mode) -> bytes:
    """The statement as the builder of *mode* signs it: with its own ``builder.id``."""
    return _with_builder(data, _BUILDERS[mode])


def unsigned(data: bytes, *, where: str = FILE) -> bytes:
    """The statement that the signed copy *data* was made from: what :func:`by` undoes. *where* names it.

    Raises :class:`VerificationError` when it names a builder that is none of ours.
    """
    builder = _read(data, where).predicate.fields("runDetails").fields("builder")
    builder.one_of("id", *_BUILDERS.values())
    return _with_builder(data, _BUILDER)


def _with_builder(data: bytes, builder: str) -> bytes:
    said = _read(data)
    details = said.predicate.fields("runDetails")
    named = {**details.fields("builder").value, "id": builder}
    return statement.make(
        statement.PROVENANCE,
        said.subjects,
        {**said.predicate.value, "runDetails": {**details.value, "builder": named}},
    )


def _read(data: bytes, where: str = FILE) -> statement.Statement:
    return statement.read(data, where=where, predicate_type=statement.PROVENANCE)


def _asked(stages: Sequence[Stage], artifacts: Sequence[Artifact]) -> dict[str, object]:
    """What the user passed (externalParameters); what it resolved to is among the dependencies."""
    first = stages[0]
    repository = _repository(first.source)
    return {
        "source": {
            "ref": _ref(first.source),
            **({"uri": repository} if repository else {}),
            **({"folder": first.source.folder} if first.source.folder else {}),
        },
        "project": first.project.name,
        "version": first.version.pep440,
        "targets": sorted(stage.target.name for stage in stages),
        "artifacts": sorted({artifact.kind for artifact in artifacts}),
    }


def _ref(source: Source) -> str:
    return f"refs/tags/{source.tag}" if source.tag else source.commit


def _repository(source: Source) -> str:
    place = purl.location(source.url)
    return f"git+{place}" if place else ""


def _dependencies(stages: Sequence[Stage], locks: Mapping[str, Digest], build: Iterable[Chosen]) -> list[_Descriptor]:
    """All that was read, as in-toto ResourceDescriptors: the source, the locks, then every file once, by its
    purl.
    """
    source = stages[0].source
    repository = _repository(source)
    files_ = {
        (descriptor["uri"], str(descriptor["digest"])): descriptor
        for stage in stages
        for descriptor in (*_wheels(stage), *_tools(stage), *map(_chosen, build), *_debs(stage))
    }
    origin: _Descriptor = {
        "name": "source",
        **({"uri": f"{repository}@{_ref(source)}"} if repository else {}),
        "digest": {"gitCommit": source.commit, "gitTree": source.tree},
        "annotations": {"dirty": source.dirty or "false"},
    }
    named: list[_Descriptor] = [{"name": name, "digest": {"sha256": locks[name]}} for name in sorted(locks)]
    return [origin, *named, *(files_[key] for key in sorted(files_))]


def _wheels(stage: Stage) -> Iterator[_Descriptor]:
    """Locked files of the application: for a compiled wheel, the sdist it was compiled from."""
    for wheel in stage.wheelhouse.wheels:
        if wheel.sha256 == stage.own.sha256:
            continue
        if wheel.sdist:
            yield _file(wheel.sdist, purl.pypi(wheel.name, wheel.version, wheel.sdist.filename), "application")
        else:
            yield _wheel(wheel, "application")


def _tools(stage: Stage) -> Iterator[_Descriptor]:
    yield from (_wheel(wheel, "tool") for wheel in stage.tools)


def _chosen(one: Chosen) -> _Descriptor:
    return _file(one.file, purl.pypi(one.name, one.version, one.file.filename), "build requirement")


def _debs(stage: Stage) -> Iterator[_Descriptor]:
    for pins, target in ((stage.debs, stage.target), (stage.build_debs, stage.target.builder)):
        yield from (_file(pin.file, purl.deb(pin, target), "operating system") for pin in pins)


def _wheel(wheel: Wheel, role: str) -> _Descriptor:
    return _descriptor(
        purl.pypi(wheel.name, wheel.version, wheel.filename), wheel.filename, wheel.sha256, wheel.url, role
    )


def _file(file: RemoteFile, named: PackageURL, role: str) -> _Descriptor:
    return _descriptor(named, file.filename, file.sha256, file.url, role)


def _descriptor(named: PackageURL, filename: str, sha256: Digest, url: str, role: str) -> _Descriptor:
    place = purl.location(url)
    return {
        "name": filename,
        "uri": str(named),
        "digest": {"sha256": sha256},
        "annotations": {"role": role},
        **({"downloadLocation": place} if place else {}),
    }
