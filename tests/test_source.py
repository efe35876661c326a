"""The commit that is built: what is refused, what is told, and what is in the clone. With real git."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from buildonce import source
from buildonce.errors import MissingToolError, SourceError
from tests.conftest import EPOCH, PYPROJECT, Repository, new_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.model import Source
    from buildonce.protocols import Runner


class Notes:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def step(self, title: str) -> None: ...

    def note(self, message: str) -> None:
        self.notes.append(message)

    def advance(self, detail: str, done: int, total: int) -> None: ...


def look(repository: Repository, host: Runner, *, allow_dirty: bool = False) -> Source:
    return source.inspect(repository.root, host, allow_dirty=allow_dirty)


def listing(root: Path) -> Iterator[tuple[str, int, int, bytes]]:
    for folder, names, filenames in os.walk(root):
        if ".git" in names:
            names.remove(".git")
        for path in sorted(root.__class__(folder, name) for name in (*names, *filenames)):
            status = path.lstat()
            data = b""
            if path.is_symlink():
                data = str(path.readlink()).encode()
            elif path.is_file():
                data = path.read_bytes()
            mode = 0 if path.is_symlink() else stat.S_IMODE(status.st_mode)
            yield str(path.relative_to(root)), mode, int(status.st_mtime), data


def test_a_clean_commit(repository: Repository, host: Runner) -> None:
    commit = repository.commit("second line\n\nand a body", **{"hello.py": "print('hi')\n"})
    found = look(repository, host)
    assert (found.commit, found.tree) == (commit, repository.git("rev-parse", "HEAD^{tree}"))
    assert found.epoch == EPOCH + 60
    assert (found.tag, found.url, found.dirty) == ("", "", None)
    assert [(c.summary, c.author, c.epoch) for c in found.changes] == [
        ("second line", "Ada Lovelace <ada@example.org>", EPOCH + 60),
        ("first", "Ada Lovelace <ada@example.org>", EPOCH),
    ]


def test_changes_reach_back_to_the_tag_before(repository: Repository, host: Runner) -> None:
    repository.git("tag", "v1.0")
    repository.commit("two")
    repository.commit("three")
    repository.git("tag", "-a", "v1.1", "-m", "1.1")
    found = look(repository, host)
    assert found.tag == "v1.1"
    assert [change.summary for change in found.changes] == ["three", "two"]


def test_at_most_fifty_changes(repository: Repository, host: Runner) -> None:
    for number in range(55):
        repository.git("commit", "--quiet", "--allow-empty", "-m", f"change {number}")
    assert len(look(repository, host).changes) == 50


def test_texts_of_a_commit_are_one_line(repository: Repository, host: Runner) -> None:
    repository.git(
        "-c",
        "user.name=Eve\x1b[31m  Mallory",
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "bell\x07 and\ttab",
    )
    change = look(repository, host).changes[0]
    assert (change.author, change.summary) == ("Eve [31m Mallory <ada@example.org>", "bell and tab")


def broken_by_no_repository(repository: Repository) -> None:
    (repository.root / ".git").rename(repository.root.parent / "gone")


def broken_by_no_commit(repository: Repository) -> None:
    broken_by_no_repository(repository)
    repository.git("init", "--quiet")


def broken_by_a_shallow_clone(repository: Repository) -> None:
    repository.commit("two")
    away = repository.root.parent / "origin"
    repository.root.rename(away)
    repository.root = away.parent
    repository.git("clone", "--quiet", "--depth=1", f"file://{away}", "hello")
    repository.root = away.parent / "hello"


def broken_by_a_partial_clone(repository: Repository) -> None:
    away = repository.root.parent / "origin"
    repository.git("config", "uploadpack.allowFilter", "true")
    repository.root.rename(away)
    repository.root = away.parent
    repository.git("clone", "--quiet", "--filter=blob:none", f"file://{away}", "hello")
    repository.root = away.parent / "hello"


def broken_by_a_changed_file(repository: Repository) -> None:
    repository.write("hello.py", "changed\n")


def broken_by_a_staged_file(repository: Repository) -> None:
    repository.write("new.py", "new\n")
    repository.git("add", "new.py")


def broken_by_a_removed_file(repository: Repository) -> None:
    (repository.root / "hello.py").unlink()


def broken_by_a_mode(repository: Repository) -> None:
    (repository.root / "hello.py").chmod(0o755)


def broken_by_a_conflict(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "other")
    repository.commit(**{"hello.py": "theirs\n"})
    repository.git("checkout", "--quiet", "main")
    repository.commit(**{"hello.py": "ours\n"})
    with pytest.raises(Exception, match="git"):
        repository.git("merge", "other")


def broken_by_assume_unchanged(repository: Repository) -> None:
    repository.git("update-index", "--assume-unchanged", "hello.py")
    broken_by_a_changed_file(repository)


def broken_by_skip_worktree(repository: Repository) -> None:
    repository.git("update-index", "--skip-worktree", "hello.py")
    broken_by_a_changed_file(repository)


def broken_by_a_replaced_commit(repository: Repository) -> None:
    old = repository.git("rev-parse", "HEAD")
    new = repository.commit(**{"hello.py": "replaced\n"})
    repository.git("reset", "--quiet", "--hard", old)
    repository.git("replace", old, new)


def broken_by_grafts(repository: Repository) -> None:
    repository.commit("two")
    repository.write(".git/info/grafts", repository.git("rev-parse", "HEAD") + "\n")


def broken_by_a_filter(repository: Repository) -> None:
    repository.commit(**{".gitattributes": "*.bin filter=lfs -text\n", "data.bin": "pointer\n"})


def broken_by_a_project_that_is_not_committed(repository: Repository) -> None:
    repository.git("rm", "--quiet", "--cached", "pyproject.toml")
    repository.git("commit", "--quiet", "-m", "gone")


BROKEN: dict[Callable[[Repository], None], tuple[str, str]] = {
    broken_by_no_repository: ("not in a git repository", "git init"),
    broken_by_no_commit: ("no commit", "git commit"),
    broken_by_a_shallow_clone: ("shallow", "git fetch --unshallow --tags"),
    broken_by_a_partial_clone: ("partial", "without --filter"),
    broken_by_a_changed_file: ("not committed", "--allow-dirty"),
    broken_by_a_staged_file: ("not committed", "--allow-dirty"),
    broken_by_a_removed_file: ("not committed", "--allow-dirty"),
    broken_by_a_mode: ("not committed", "--allow-dirty"),
    broken_by_a_conflict: ("not committed", "--allow-dirty"),
    broken_by_assume_unchanged: ("told not to look", "--no-assume-unchanged"),
    broken_by_skip_worktree: ("told not to look", "--no-skip-worktree"),
    broken_by_a_replaced_commit: ("replace refs", "git replace -d"),
    broken_by_grafts: ("grafts", "rm "),
    broken_by_a_filter: ("git filter", "keep them in git itself"),
    broken_by_a_project_that_is_not_committed: ("not in the commit", "git add pyproject.toml"),
}


@pytest.mark.parametrize("breaking", list(BROKEN), ids=lambda function: function.__name__.removeprefix("broken_by_"))
def test_what_cannot_be_built_is_refused_with_the_next_step(
    repository: Repository, host: Runner, breaking: Callable[[Repository], None]
) -> None:
    breaking(repository)
    message, hint = BROKEN[breaking]
    with pytest.raises(SourceError, match=message) as caught:
        look(repository, host)
    assert hint in caught.value.problems[0].hint
    assert str(repository.root.parent) in caught.value.problems[0].where


def test_few_of_many_changed_files_are_named(repository: Repository, host: Runner) -> None:
    repository.commit(**{f"f{n}.txt": "a" for n in range(9)})
    for number in range(9):
        repository.write(f"f{number}.txt", "b")
    with pytest.raises(SourceError) as caught:
        look(repository, host)
    assert caught.value.problems[0].where.endswith("f0.txt, f1.txt, f2.txt, f3.txt, f4.txt and 4 more")


def test_a_repository_of_another_user(repository: Repository, host: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(SourceError, match="belongs to another user") as caught:
        look(repository, host)
    assert "safe.directory" in caught.value.problems[0].hint


def test_no_git(repository: Repository, host: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingToolError):
        look(repository, host)


def test_files_outside_git_are_told_and_left_out(repository: Repository, host: Runner, tmp_path: Path) -> None:
    repository.write("debs.lock.toml", "")
    repository.write("secret.txt", "")
    notes = Notes()
    found = source.inspect(repository.root, host, allow_dirty=False, progress=notes)
    assert notes.notes == ["not in git, so not in the release: debs.lock.toml, secret.txt"]
    clone = source.export(repository.root, found, tmp_path / "clone", host)
    assert sorted(path.name for path in clone.iterdir()) == [".git", "hello.py", "pyproject.toml"]


def test_a_sparse_checkout_hides_nothing(repository: Repository, host: Runner, tmp_path: Path) -> None:
    repository.commit(**{"big/data.txt": "data"})
    repository.git("sparse-checkout", "set", "--no-cone", "/*", "!/big/")
    assert not (repository.root / "big").exists()
    clone = source.export(repository.root, look(repository, host), tmp_path / "clone", host)
    assert (clone / "big/data.txt").is_file()


def test_the_clone_is_what_was_committed(repository: Repository, host: Runner, tmp_path: Path) -> None:
    script = repository.write("bin/run", "#!/bin/sh\n")
    script.chmod(0o775)
    (repository.root / "link").symlink_to("hello.py")
    repository.commit(**{"crlf.txt": "a\r\nb\r\n", "näme with spaces.txt": "x"})
    clone = source.export(repository.root, look(repository, host), tmp_path / "clone", host)
    time = EPOCH + 60
    assert sorted(listing(clone)) == [
        ("bin", 0o755, time, b""),
        ("bin/run", 0o755, time, b"#!/bin/sh\n"),
        ("crlf.txt", 0o644, time, b"a\r\nb\r\n"),
        ("hello.py", 0o644, time, b"print('hello')\n"),
        ("link", 0, time, b"hello.py"),
        ("näme with spaces.txt", 0o644, time, b"x"),
        ("pyproject.toml", 0o644, time, PYPROJECT.encode()),
    ]


def test_the_clone_depends_on_nothing_else(
    repository: Repository, host: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, templates, attributes, settings and umask of the user, a hook's environment, another branch."""
    repository.commit(**{"a.txt": "one\ntwo\n"})
    for tag in ("v1.0", "v1.1", "v1.1.1"):
        repository.git("tag", tag)
    found = look(repository, host)
    plain = source.export(repository.root, found, tmp_path / "plain", host)
    home = tmp_path / "evil"
    hook = files_of(home / "template/hooks/post-checkout", "#!/bin/sh\necho hooked >a.txt\n")
    hook.chmod(0o755)
    files_of(home / "git/attributes", "*.txt filter=shout eol=crlf\n")
    files_of(
        home / "git/config",
        f"""[core]\n autocrlf = true\n eol = crlf\n hooksPath = {hook.parent}\n fsmonitor = {hook}
[init]\n templateDir = {home}/template\n[filter "shout"]\n smudge = tr a-z A-Z\n clean = tr A-Z a-z
[clone]\n defaultRemoteName = x\n[diff]\n noprefix = true\n mnemonicPrefix = true\n external = false
[protocol "file"]\n allow = never\n[status]\n showUntrackedFiles = no
[tag]\n sort = -refname\n[column]\n ui = always\n[color]\n ui = always\n[log]\n showSignature = true\n""",
    )
    repository.git("checkout", "--quiet", "-b", "elsewhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    umask = os.umask(0o077)
    try:
        assert look(repository, host) == found
        other = source.export(repository.root, found, tmp_path / "other", host)
    finally:
        os.umask(umask)
    assert sorted(listing(other)) == sorted(listing(plain))
    assert source.history(other) == source.History(tags=("v1.0", "v1.1", "v1.1.1"), height=2, tagged=True)
    assert found.tag == "v1.1.1"
    assert not (other / ".git/hooks").exists()


def files_of(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_only_tags_that_can_be_reached_are_in_the_clone(repository: Repository, host: Runner, tmp_path: Path) -> None:
    repository.git("tag", "v1.0")
    repository.git("checkout", "--quiet", "-b", "side")
    repository.commit("side")
    repository.git("tag", "v9.9")
    repository.git("checkout", "--quiet", "main")
    repository.commit("main")
    clone = source.export(repository.root, look(repository, host), tmp_path / "clone", host)
    assert Repository(clone).git("tag") == "v1.0"
    assert Repository(clone).git("describe", "--tags", "--dirty").startswith("v1.0-1-g")
    assert source.history(clone) == source.History(tags=(), height=2, tagged=True)
    assert Repository(clone).git("remote") == ""


def test_the_clone_is_clean_for_commands_that_do_not_refresh(
    repository: Repository, host: Runner, tmp_path: Path
) -> None:
    clone = source.export(repository.root, look(repository, host), tmp_path / "clone", host)
    shutil.copytree(clone, tmp_path / "copy", symlinks=True)
    for folder in (clone, tmp_path / "copy"):
        assert Repository(folder).git("diff-index", "--name-only", "HEAD") == ""
        assert Repository(folder).git("status", "--porcelain") == ""


def test_a_project_in_a_subfolder(host: Runner, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "mono")
    repository.commit(**{"apps/hello/pyproject.toml": PYPROJECT, "lib/x.py": "", "README.md": ""})
    project = repository.root / "apps/hello"
    found = source.inspect(project, host, allow_dirty=False)
    clone = source.export(project, found, tmp_path / "clone", host)
    assert clone == tmp_path / "clone/apps/hello"
    assert (clone / "pyproject.toml").is_file()
    assert (tmp_path / "clone/lib/x.py").is_file()
    assert source.history(clone) is not None
    repository.write("lib/x.py", "changed")
    with pytest.raises(SourceError, match="not committed"):
        source.inspect(project, host, allow_dirty=False)


def test_a_linked_worktree(repository: Repository, host: Runner, tmp_path: Path) -> None:
    commit = repository.git("rev-parse", "HEAD")
    repository.commit("main goes on")
    repository.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"), commit)
    found = source.inspect(tmp_path / "tree", host, allow_dirty=False)
    assert found.commit == commit
    clone = source.export(tmp_path / "tree", found, tmp_path / "clone", host)
    assert Repository(clone).git("rev-parse", "HEAD") == commit


def test_local_changes_are_built_only_when_allowed(repository: Repository, host: Runner, tmp_path: Path) -> None:
    repository.commit(**{"gone.py": "", "kept.py": ""})
    clean = look(repository, host, allow_dirty=True)
    assert clean.dirty is None
    (repository.root / "gone.py").unlink()
    (repository.root / "hello.py").write_bytes(b"\x00binary\xff")
    repository.write("staged.py", "staged\n")
    repository.git("add", "staged.py")
    found = look(repository, host, allow_dirty=True)
    assert found.dirty is not None
    assert look(repository, host, allow_dirty=True).dirty == found.dirty
    clone = source.export(repository.root, found, tmp_path / "clone", host)
    assert not (clone / "gone.py").exists()
    assert (clone / "hello.py").read_bytes() == b"\x00binary\xff"
    assert (clone / "staged.py").read_text() == "staged\n"
    assert {row[2] for row in listing(clone)} == {found.epoch}
    repository.write("kept.py", "another change")
    assert look(repository, host, allow_dirty=True).dirty != found.dirty
    with pytest.raises(SourceError, match="changed while"):
        source.export(repository.root, found, tmp_path / "late", host)


def with_submodule(repository: Repository) -> Repository:
    inner = new_repository(repository.root.parent / "inner")
    inner.commit(**{"lib.c": "int x;\n"})
    repository.git("submodule", "--quiet", "add", str(inner.root), "vendor/inner")
    repository.commit("vendored")
    return inner


def test_a_submodule_is_cloned_at_its_commit(repository: Repository, host: Runner, tmp_path: Path) -> None:
    inner = with_submodule(repository)
    inner.commit("later", **{"lib.c": "int y;\n"})
    clone = source.export(repository.root, look(repository, host), tmp_path / "clone", host)
    assert (clone / "vendor/inner/lib.c").read_text() == "int x;\n"
    assert Repository(clone).git("status", "--porcelain", "--ignore-submodules=none") == ""


@pytest.mark.parametrize("allow_dirty", [False, True])
def test_a_changed_submodule_is_refused(repository: Repository, host: Runner, *, allow_dirty: bool) -> None:
    with_submodule(repository)
    repository.git("config", "submodule.vendor/inner.ignore", "all")
    repository.write("vendor/inner/lib.c", "changed\n")
    with pytest.raises(SourceError, match="submodules are not at the commit"):
        look(repository, host, allow_dirty=allow_dirty)


def test_a_submodule_that_is_not_there_is_refused(repository: Repository, host: Runner, tmp_path: Path) -> None:
    with_submodule(repository)
    repository.git("submodule", "--quiet", "deinit", "--force", "vendor/inner")
    with pytest.raises(SourceError, match="vendor/inner is not there") as caught:
        source.export(repository.root, look(repository, host), tmp_path / "clone", host)
    assert "git submodule update --init" in caught.value.problems[0].hint
