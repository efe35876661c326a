"""Writes the bill of materials through cyclonedx-python-lib.

Four things would make it differ from run to run and are fixed here: the serial number (a UUID of the
content), the time (the commit's), every ``bom-ref`` (a package URL) and the tool (named, not asked for).
"""

from __future__ import annotations

import json
import uuid
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseAcknowledgement
from cyclonedx.model.lifecycle import LifecyclePhase, PredefinedLifecycle
from cyclonedx.output.json import JsonV1Dot6

from buildonce import purl, target
from buildonce.sbom import graph
from buildonce.system import canonical, files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cyclonedx.model.license import License

    from buildonce.model import DebPin, Digest
    from buildonce.sbom.graph import Facts
    from buildonce.stage import Stage

__all__ = ["write"]

_NO_SERIAL: Final = uuid.UUID(int=0)
_LONGEST_LICENSE_NAME: Final = 80  # beyond it, the field holds the license's text
_DECLARED: Final = LicenseAcknowledgement.DECLARED


def write(stages: Sequence[Stage], tool_version: str) -> bytes:
    """The document of :func:`buildonce.sbom.make`."""
    stages = sorted(stages, key=lambda stage: stage.target.name)
    first = stages[0]
    named = purl.pypi(first.project.name, first.version.pep440)
    root = Component(
        type=ComponentType.APPLICATION,
        name=first.project.name,
        version=first.version.pep440,
        description=first.project.summary or None,
        licenses=_named(first.project.license),
        purl=named,
        bom_ref=str(named),
    )
    bom = Bom(serial_number=_NO_SERIAL)
    bom.metadata.component = root
    bom.metadata.timestamp = datetime.fromtimestamp(first.source.epoch, UTC)
    bom.metadata.lifecycles.add(PredefinedLifecycle(LifecyclePhase.BUILD))
    tool = Component(
        type=ComponentType.APPLICATION,
        name="buildonce",
        version=tool_version or None,
        bom_ref="urn:buildonce:tool",
    )
    bom.metadata.tools.components.add(tool)
    known: dict[tuple[str, Digest], Component] = {}
    for stage in stages:
        _add(bom, root, stage, known)
    return _canonical(bom)


def _add(bom: Bom, root: Component, stage: Stage, known: dict[tuple[str, Digest], Component]) -> None:
    """What *stage* brings, and its graph. Files that several targets share are one component (*known*)."""
    read = [graph.facts(wheel) for wheel in stage.wheelhouse.wheels]
    components = {one.wheel.name: _shared(_wheel(one), one.wheel.sha256, stage, known) for one in read}
    components[stage.own.name] = root
    for name, needs in sorted(graph.edges(read, target.markers(stage.target)).items()):
        bom.register_dependency(components[name], [components[needed] for needed in sorted(needs)])
    packages = [_shared(_deb(one.pin, stage), one.pin.file.sha256, stage, known) for one in stage.runtime]
    bom.register_dependency(root, packages)
    for component in (*components.values(), *packages):
        if component is not root:
            bom.components.add(component)


def _shared(
    component: Component, sha256: Digest, stage: Stage, known: dict[tuple[str, Digest], Component]
) -> Component:
    """*component*, or the same one of an earlier target. Two files of one name (compiled for each target)
    stay two.
    """
    key = (str(component.purl), sha256)
    if key not in known:
        if any(named == key[0] for named, _ in known):
            component.bom_ref.value = f"{key[0]}#{stage.target.name}"
        known[key] = component
    return known[key]


def _wheel(one: Facts) -> Component:
    wheel = one.wheel
    named = purl.pypi(wheel.name, wheel.version, wheel.filename)
    return Component(
        type=ComponentType.LIBRARY,
        name=wheel.name,
        version=wheel.version,
        description=one.metadata.get("summary") or None,
        scope=ComponentScope.REQUIRED,
        licenses=_licenses(one),
        hashes=[_sha256(wheel.sha256)],
        external_references=[
            *_reference(ExternalReferenceType.DISTRIBUTION, wheel.url, wheel.sha256),
            *(
                _reference(ExternalReferenceType.SOURCE_DISTRIBUTION, wheel.sdist.url, wheel.sdist.sha256)
                if wheel.sdist
                else ()
            ),
        ],
        purl=named,
        bom_ref=str(named),
    )


def _deb(pin: DebPin, stage: Stage) -> Component:
    named = purl.deb(pin, stage.target)
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        scope=ComponentScope.REQUIRED,
        hashes=[_sha256(pin.file.sha256)],
        external_references=_reference(ExternalReferenceType.DISTRIBUTION, pin.file.url, pin.file.sha256),
        purl=named,
        bom_ref=str(named),
    )


def _sha256(digest: Digest) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _reference(kind: ExternalReferenceType, url: str, sha256: Digest) -> Iterator[ExternalReference]:
    if place := purl.location(url):
        yield ExternalReference(type=kind, url=XsUri(place), hashes=[_sha256(sha256)])


def _licenses(one: Facts) -> list[License]:
    """What the metadata declares, the most precise first: an expression, a short license, classifiers."""
    said = one.metadata
    if found := _named(said.get("license_expression", "")):
        return found
    text = said.get("license", "").strip()
    if text and text != "UNKNOWN" and len(text) < _LONGEST_LICENSE_NAME:
        return _named(text)
    classifiers = (text for text in said.get("classifiers", []) if text.startswith("License ::"))
    names = sorted({text.rpartition("::")[2].strip() for text in classifiers})
    return [LicenseFactory().make_with_name(name, acknowledgement=_DECLARED) for name in names]


def _named(text: str) -> list[License]:
    return [LicenseFactory().make_from_string(text, license_acknowledgement=_DECLARED)] if text else []


def _canonical(bom: Bom) -> bytes:
    with warnings.catch_warnings():
        # An application may need nothing though its lock brings something: worth no line on the terminal.
        warnings.filterwarnings("ignore", message="The Component this BOM is describing")
        content = json.loads(JsonV1Dot6(bom).output_as_string())
    serial = uuid.uuid5(uuid.NAMESPACE_URL, files.sha256_bytes(canonical.dump(content)))
    return canonical.dump({**content, "serialNumber": serial.urn})
