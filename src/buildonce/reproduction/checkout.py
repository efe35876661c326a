"""A clone of the very commit that a release records, with the tags as they were."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from buildonce import purl
from buildonce import source as sources
from buildonce.errors import BuildError, SourceError
from buildonce.system.git import Git

if TYPE_CHECKING:
    from buildonce.model import Source
    from buildonce.protocols import Progress, Runner
    from buildonce.system import System

__all__ = ["make"]


def make(source: Source, into: Path, *, root: Path, chosen: str, system: System) -> tuple[Path, str]:
    """Clone the commit of *source* to the new folder *into*; answers the project's folder and the repository's place.

    From the repository around *root* when it has the commit, else from the recorded one; from *chosen* alone (a
    folder or a URL) when given. Raises :class:`SourceError` when none has it.
    """
    system.progress.step(f"clone of commit {source.commit[:12]}")
    tried: list[str] = []
    for place in (chosen,) if chosen else (str(root), purl.location(source.url)):
        found = _repository(place, source.commit, root, into.with_name("fetched"), system) if place else None
        if found is None:
            tried += [place] if place else []
            continue
        try:
            sources.clone_from(found, source.commit, into, system.host)
        except BuildError as error:
            raise SourceError("git cannot clone the commit", where=str(found), log=error.log) from error
        _set_tags(Git(into, system.host, clean=True), source.tag, system.progress)
        return into / source.folder, place
    raise SourceError(
        f"the commit {source.commit[:12]} of the release is gone: it is not to be had",
        where=" nor in ".join(tried) or str(root),
        hint="name a repository that has it: --source PATH|URL",
    )


def _repository(place: str, commit: str, root: Path, aside: Path, system: System) -> Path | None:
    """A repository on this machine with *commit*: *place* itself, or a clone of it in the new folder *aside*."""
    folder = root / Path(place).expanduser()
    if folder.is_dir():
        return _local(folder, commit, system.host)
    system.progress.note(f"cloning {place}")
    asked = Git(root, system.host)
    if asked.run("clone", "--quiet", "--no-checkout", "--", place, str(aside), check=False).returncode != 0:
        return None
    git = Git(aside, system.host)
    if not _has(git, commit):  # no branch leads there, but the server may still have it
        git.run("fetch", "--quiet", "origin", commit, check=False)
    if not _has(git, commit):
        return None
    if git.succeeds("cat-file", "-e", f"{commit}:.gitmodules"):
        git.run("checkout", "--quiet", "--detach", commit)
        git.run("submodule", "--quiet", "update", "--init", "--recursive", check=False)
    return aside


def _local(folder: Path, commit: str, host: Runner) -> Path | None:
    git = Git(folder, host)
    if not _has(git, commit) or git.line("rev-parse", "--is-shallow-repository") == "true":
        return None
    top = os.fsdecode(git.run("rev-parse", "--show-toplevel", check=False).stdout).strip()
    return Path(top) if top else folder  # a bare repository has no top


def _has(git: Git, commit: str) -> bool:
    return git.succeeds("cat-file", "-e", f"{commit}^{{commit}}")


def _set_tags(clone: Git, tag: str, progress: Progress) -> None:
    """Let the commit have the tag that the release records, and none that would come before it.

    Tags are given, moved and taken away after a release; versions are made from them.
    """
    if tag and tag not in _tags_here(clone):
        progress.note(f"the tag {tag} is not on the commit any more: set in the clone, as the release records it")
        clone.run("tag", "--force", tag, "HEAD")
    here = _tags_here(clone)
    for later in here[: here.index(tag)] if tag else here:
        progress.note(f"the tag {later} is not part of the release: left out of the clone")
        clone.run("tag", "--delete", later)


def _tags_here(clone: Git) -> list[str]:
    """The tags on the commit, in the order in which a build looks for the one that it records."""
    which = ("--points-at=HEAD", "--sort=-version:refname", "--format=%(refname:strip=2)")
    return clone.lines("for-each-ref", *which, "refs/tags")
