"""The commit that is built: checked in the user's checkout, then cloned clean.

Nothing of the user's or the machine's git configuration decides what is in the clone: no filters, no
conversion of line endings, no hooks, no templates. gitattributes(5) of the commit itself count.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce.errors import SourceError
from buildonce.model import Change, Source
from buildonce.system import files
from buildonce.system.git import Git

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buildonce.model import Digest
    from buildonce.protocols import Progress, Runner

__all__ = ["History", "clone_from", "export", "history", "inspect"]

_SHOWN = 5  # how many files an error names
_CHANGES = 50  # how many commits a changelog holds
_HISTORY: Final = Path(".git", "buildonce.json")

_DIFF: Final = (
    "diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-renames", "--no-textconv",
    "--diff-algorithm=myers", "--unified=3", "--inter-hunk-context=0", "--src-prefix=a/", "--dst-prefix=b/",
    "-O/dev/null", "--ignore-submodules=all", "HEAD", "--",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """What git says about the commit beyond :class:`Source`; kept in the clone, to settle the version."""

    tags: tuple[str, ...]  # all tags on the commit
    height: int  # number of commits up to and with it
    tagged: bool  # whether any tag can be reached from it


def inspect(root: Path, runner: Runner, *, allow_dirty: bool, progress: Progress | None = None) -> Source:
    """The commit that is checked out in *root*, the project's folder, anywhere in a repository.

    Files that git does not track are not built; *progress* is told their names. Raises :class:`SourceError`
    when the checkout cannot be built as it is.
    """
    git = Git(root, runner)
    top = _toplevel(git, root)
    if not git.succeeds("rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        raise SourceError("the repository has no commit", where=str(top), hint="git add . && git commit")
    if git.line("rev-parse", "--is-shallow-repository") == "true":
        raise SourceError(
            "the clone is shallow: without its history there is no version",
            where=str(top),
            hint="git fetch --unshallow --tags (in CI: check out with all history)",
        )
    if git.succeeds("config", "--get-regexp", r"^remote\..*\.promisor$", "true"):
        raise SourceError(
            "the clone is partial: some of its files are only on the server",
            where=str(top),
            hint="clone it again without --filter",
        )
    _refuse_other_history(git, top)
    if not git.succeeds("cat-file", "-e", "HEAD:./pyproject.toml"):
        raise SourceError(
            "pyproject.toml is not in the commit",
            where=str(root),
            hint="git add pyproject.toml && git commit",
        )
    everything = Git(top, runner)
    _refuse_hidden_changes(everything, top)
    untracked = _refuse_changes(everything, top, allow_dirty=allow_dirty)
    _refuse_filters(everything, top)
    if untracked and progress is not None:
        progress.note(f"not in git, so not in the release: {_some(untracked)}")
    changes = _local_changes(everything) if allow_dirty else b""
    return _describe(git, files.sha256_bytes(changes) if changes else None)


def export(project_root: Path, source: Source, into: Path, runner: Runner) -> Path:
    """A clean clone of the commit at *into*, which must not exist; answers the project's folder in it.

    All of the repository is there, with the tags that can be reached; submodules are clones of their own.
    Local changes are applied only when the source is dirty. Modes are 0644 and 0755, times are the commit's.
    """
    git = Git(project_root, runner)
    top = Path(git.line("rev-parse", "--show-toplevel"))
    prefix = git.line("rev-parse", "--show-prefix")
    clone_from(top, source.commit, into, runner)
    clone = Git(into, runner, clean=True)
    found = History(
        tags=tuple(_tags(clone, "--points-at=HEAD")),
        height=int(clone.line("rev-list", "--count", "HEAD")),
        tagged=bool(_tags(clone)),
    )
    if source.dirty is not None:
        _apply(_local_changes(Git(top, runner)), source.dirty, clone)
    _normalise(into, source.epoch)
    # Its own write, so that `git describe --dirty` and diff-index inside a build see a fresh index.
    clone.run("update-index", "-q", "--really-refresh", check=False)
    (into / _HISTORY).write_text(json.dumps(asdict(found)))
    _normalise(into / ".git", source.epoch)
    return into / prefix


def history(clone: Path) -> History | None:
    """What :func:`export` noted in the clone around *clone*, the project's folder; None elsewhere."""
    for folder in (clone, *clone.parents):
        if (folder / _HISTORY).is_file():
            found = json.loads((folder / _HISTORY).read_text())
            return History(tags=tuple(found["tags"]), height=found["height"], tagged=found["tagged"])
    return None


def _toplevel(git: Git, root: Path) -> Path:
    outcome = git.run("rev-parse", "--show-toplevel", check=False)
    if outcome.returncode == 0 and outcome.stdout.strip():
        return Path(os.fsdecode(outcome.stdout).removesuffix("\n"))
    if "dubious ownership" in outcome.tail:
        raise SourceError(
            "git does not trust this repository: it belongs to another user",
            where=str(root),
            hint=f"git config --global --add safe.directory {root}",
        )
    if "not a git repository" in outcome.tail:
        raise SourceError(
            "this is not in a git repository: a release is made from a commit",
            where=str(root),
            hint="git init && git add . && git commit -m 'first version'",
        )
    raise SourceError("git cannot read this repository", where=str(root), log=outcome.tail)


def _refuse_other_history(git: Git, top: Path) -> None:
    replaced = git.lines("for-each-ref", "--format=%(refname:strip=2)", "refs/replace")
    if replaced:
        raise SourceError(
            "replace refs show other content than the commit has",
            where=f"{top}: {_some(replaced)}",
            hint=f"git replace -d {replaced[0]}",
        )
    grafts = Path(git.line("rev-parse", "--path-format=absolute", "--git-path", "info/grafts"))
    if grafts.is_file() and grafts.stat().st_size:
        raise SourceError("grafts show another history than the commit has", where=str(grafts), hint=f"rm {grafts}")


def _refuse_hidden_changes(git: Git, top: Path) -> None:
    hidden = []
    for entry in git.names("ls-files", "-v", "-z"):
        mark, path = entry[0], entry[2:]
        # A sparse checkout skips files that are not there; a file that is there and skipped hides its
        # changes.
        if mark.islower() or (mark == "S" and (top / path).exists()):
            hidden.append(path)
    if hidden:
        raise SourceError(
            "git was told not to look at changes of some files",
            where=f"{top}: {_some(hidden)}",
            hint=f"git update-index --no-assume-unchanged --no-skip-worktree {hidden[0]}",
        )


def _refuse_changes(git: Git, top: Path, *, allow_dirty: bool) -> list[str]:
    """Answers the untracked files. The format is ``git status --porcelain=v2`` with -z."""
    changed: list[str] = []
    untracked: list[str] = []
    submodules: list[str] = []
    entries = git.names("status", "--porcelain=v2", "-z", "--untracked-files=normal",
                        "--ignore-submodules=none", "--no-renames")  # fmt: skip
    for entry in entries:
        if entry.startswith("? "):
            untracked.append(entry[2:])
            continue
        fields = entry.split(" ", 10 if entry.startswith("u") else 8)
        (submodules if fields[2].startswith("S") else changed).append(fields[-1])
    if submodules:
        raise SourceError(
            "submodules are not at the commit that the repository records",
            where=f"{top}: {_some(submodules)}",
            hint="commit the submodule's changes, or: git submodule update --init --recursive",
        )
    if changed and not allow_dirty:
        raise SourceError(
            "the checkout has changes that are not committed",
            where=f"{top}: {_some(changed)}",
            hint="commit or stash them; --allow-dirty builds a version that can never be published",
        )
    return untracked


def _refuse_filters(git: Git, top: Path) -> None:
    # Whatever is neither unspecified nor unset names a program of somebody's machine (gitattributes(5),
    # filter).
    filtered = git.names("-c", "core.attributesFile=/dev/null", "ls-files", "-z", "--",
                         ":/", ":(exclude,attr:!filter)", ":(exclude,attr:-filter)")  # fmt: skip
    if filtered:
        raise SourceError(
            "files go through a git filter (such as LFS), which depends on the machine",
            where=f"{top}: {_some(filtered)}",
            hint="keep them in git itself, or out of the repository",
        )


def _local_changes(git: Git) -> bytes:
    return git.run(*_DIFF).stdout


def _describe(git: Git, dirty: Digest | None) -> Source:
    commit, tree, epoch = git.line("log", "-1", "--format=%H %T %ct", "HEAD").split()
    tags = _tags(git, "--points-at=HEAD", "--sort=-version:refname")
    reached = git.run("describe", "--tags", "--abbrev=0", "HEAD^" if tags else "HEAD", check=False)
    since = f"refs/tags/{os.fsdecode(reached.stdout).strip()}.." if reached.returncode == 0 else ""
    return Source(
        commit=commit,
        tree=tree,
        epoch=int(epoch),
        tag=tags[0] if tags else "",
        url="",
        dirty=dirty,
        changes=_changes(git, f"{since}HEAD"),
        folder=git.line("rev-parse", "--show-prefix").rstrip("/"),
    )


def _tags(git: Git, *which: str) -> list[str]:
    return git.lines("for-each-ref", *which, "--format=%(refname:strip=2)", "refs/tags")


def _changes(git: Git, commits: str) -> tuple[Change, ...]:
    log = git.run("log", "-z", f"--max-count={_CHANGES}", "--encoding=UTF-8", "--no-color", "--no-decorate",
                  "--format=%H%n%ct%n%an <%ae>%n%s", commits, "--").stdout  # fmt: skip
    changes = []
    for entry in log.decode(errors="replace").split("\0"):
        if entry:
            commit, epoch, author, summary = entry.split("\n", 3)
            changes.append(
                Change(commit=commit, epoch=int(epoch), author=_one_line(author), summary=_one_line(summary))
            )
    return tuple(changes)


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())


def clone_from(top: Path, commit: str, into: Path, runner: Runner) -> None:
    """Check out *commit* of the repository *top*, with its submodules and the tags that it reaches, in the new *into*.

    Raises :class:`SourceError` for a submodule that is not there, :class:`BuildError` for what git refuses.
    """
    into.mkdir(parents=True)
    clone = Git(into, runner, clean=True)
    hashing = Git(top, runner).line("rev-parse", "--show-object-format")
    clone.run("init", "--quiet", "--template=", "--initial-branch=main", f"--object-format={hashing}", ".")
    # Read with the user's configuration, because that is where they say that they trust the repository.
    Git(into, runner).run(
        "fetch", "--quiet", "--no-auto-maintenance", "--no-recurse-submodules", "--no-write-fetch-head",
        "--no-tags", str(top), commit, "refs/tags/*:refs/tags/*",
    )  # fmt: skip
    elsewhere = _tags(clone, f"--no-merged={commit}")
    for start in range(0, len(elsewhere), 500):
        clone.run("tag", "--delete", *elsewhere[start : start + 500])
    # Sandboxes show other owners and inodes than the index has; size and time are what stays.
    for setting in (
        "core.checkStat=minimal",
        "core.trustctime=false",
        "core.autocrlf=false",
        "core.symlinks=true",
    ):
        clone.run("config", *setting.split("="))
    clone.run("checkout", "--quiet", "--detach", "--force", commit)
    for path, pinned in _submodules(clone):
        if not (top / path / ".git").exists():
            raise SourceError(
                f"the submodule {path} is not there",
                where=str(top / path),
                hint="git submodule update --init --recursive",
            )
        (into / path).rmdir()
        clone_from(top / path, pinned, into / path, runner)


def _submodules(git: Git) -> Iterable[tuple[str, str]]:
    for entry in git.names("ls-tree", "-r", "-z", "HEAD"):
        facts, path = entry.split("\t", 1)
        mode, _, commit = facts.split()
        if mode == "160000":
            yield path, commit


def _apply(changes: bytes, expected: Digest, clone: Git) -> None:
    if files.sha256_bytes(changes) != expected:
        raise SourceError("the checkout changed while it was read", hint="run it again")
    with files.scratch(clone.folder / ".git", "changes") as aside:
        patch = aside / "patch"
        patch.write_bytes(changes)
        clone.run("apply", "--binary", "--whitespace=nowarn", str(patch))


def _normalise(root: Path, epoch: int) -> None:
    """Modes and times that do not tell of this machine. A link's mode is not its own, its time is."""
    for folder, names, filenames in os.walk(root, topdown=False):
        for name in (*names, *filenames):
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            os.utime(path, (epoch, epoch), follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, (epoch, epoch))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
