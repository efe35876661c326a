"""Build environments: the locked build requirements of one sdist, and calls of its backend in a build root.

The backend interface is PEP 517; pypa/build speaks it (``builders/wheel/hook.py``). An environment is laid
once for the fixed path ``/build/env`` and kept in the store, so that object code and scripts never see
another path.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from buildonce import buildroot, install
from buildonce.errors import BuildError, RootFullError, TimeLimitError
from buildonce.model import Bind, Command
from buildonce.system import files, share
from buildonce.wheels import admit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from buildonce.model import Target, Wheel
    from buildonce.protocols import Runner
    from buildonce.system.store import Store

__all__ = [
    "ENVIRONMENT",
    "OUT",
    "PREFIX",
    "SOURCE",
    "Distribution",
    "Hook",
    "call",
    "hook_script",
    "key",
    "make",
    "prepared",
]

Distribution = Literal["wheel", "sdist"]
Hook = Literal[Distribution, "requires_for_wheel", "requires_for_sdist"]

_BUILD: Final = PurePosixPath("/build")
PREFIX: Final = _BUILD / "env"
SOURCE: Final = _BUILD / "src"
OUT: Final = _BUILD / "out"
_FRONTEND: Final = ("build", "packaging", "pyproject_hooks")
_LACKS_REQUIREMENT: Final = 3  # the exit code of hook.py for it

# What every backend sees beside the clean environment of the build root. The compiler's flags are in hook.py,
# which knows those of the target's interpreter.
ENVIRONMENT: Final[tuple[tuple[str, str], ...]] = (
    ("PATH", f"{PREFIX}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("RUSTFLAGS", f"--remap-path-prefix={_BUILD}=."),
    ("GOFLAGS", "-trimpath"),
    ("CARGO_NET_OFFLINE", "true"),
    # The clone belongs to whoever runs the tool, the backend is uid 0: git refuses that for its safety, scm
    # backends then guess.
    ("GIT_CONFIG_COUNT", "1"),
    ("GIT_CONFIG_KEY_0", "safe.directory"),
    ("GIT_CONFIG_VALUE_0", "*"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
)


def make(wheels: Sequence[Wheel], *, target: Target, store: Store, runner: Runner | None = None) -> Path:
    """The environment for :data:`PREFIX` that holds *wheels*, from the store or laid now.

    With *runner*, the build root, everything is byte-compiled once, which saves a third of every later
    :func:`call`.
    """
    made_from = files.sha256_bytes(
        json.dumps(
            {
                "layout": 1,
                "interpreter": str(target.interpreter),
                "python": target.python,
                "bytecode": runner is not None,
                "wheels": sorted([wheel.filename, wheel.sha256] for wheel in wheels),
            },
            sort_keys=True,
        ).encode()
    )

    def lay(into: Path) -> None:
        install.environment(prefix=PREFIX, target=target, into=into)
        for wheel in sorted(wheels, key=lambda w: w.name):
            admit(wheel.path, allow_pth=frozenset({wheel.name}))  # what it starts, starts in the build root alone
            install.lay(
                wheel.path,
                prefix=PREFIX,
                interpreter=PREFIX / "bin" / "python",
                python_minor=target.python_minor,
                into=into,
                dist=wheel.name,
            )
        if runner is not None:
            _byte_compile(_inside(into), runner)

    return _inside(store.folder("buildenv", made_from, lay))


def key(env: Path) -> str:
    """What names the content of an environment of :func:`make`: the digest of all it was laid from."""
    return env.parents[len(PREFIX.parts) - 2].name


def _inside(root: Path) -> Path:
    return root.joinpath(*PREFIX.parts[1:])


def _byte_compile(env: Path, runner: Runner) -> None:
    """Best effort: some wheels ship sources for other Pythons, which do not compile."""
    runner.run(
        Command(
            argv=(
                f"{PREFIX}/bin/python",
                "-m",
                "compileall",
                "-q",
                "--invalidation-mode",
                "unchecked-hash",
                f"{PREFIX}/lib",
            ),
            binds=(Bind(source=env, target=PREFIX, writable=True),),
        ),
        check=False,
    )


def hook_script() -> Path:
    """The program that runs in the build root; its bytes are part of every recipe."""
    return share.path("builders", "wheel", "hook.py")


def call(
    hook: Hook,
    *,
    env: Path,
    source: Path,
    out: Path,
    runner: Runner,
    environment: Mapping[str, str],
    log: Path | None,
    repository: Path | None = None,
) -> bytes:
    """Call one hook of the backend of *source*; answers one JSON value: a string, or a list of requirements.

    The backend works on a copy of *repository*, the clone that *source* is a folder of (*source* itself when not
    given), with plain modes and, if ``SOURCE_DATE_EPOCH`` is in
    *environment*, its time; what it builds is in *out*. A ``.git`` is shown as it is, read-only. Raises
    :class:`BuildError` with the end of the log.
    """
    with prepared(
        (f"{PREFIX}/bin/python", "-I", f"{_BUILD}/hook.py", hook),
        env=env,
        source=source,
        out=out,
        environment=environment,
        repository=repository,
    ) as command:
        try:
            outcome = runner.run(command, log=log, check=False)
        except TimeLimitError as error:
            raise _too_slow(hook, error) from error
    if outcome.returncode:
        if os.strerror(errno.ENOSPC) in outcome.tail and shutil.disk_usage(out).free > buildroot.MOST_MEMORY:
            raise _filled(hook, outcome.tail, log)
        raise _failure(hook, outcome.returncode, outcome.tail, log)
    return outcome.stdout


@contextlib.contextmanager
def prepared(
    argv: tuple[str, ...],
    *,
    env: Path,
    source: Path,
    out: Path,
    environment: Mapping[str, str],
    repository: Path | None = None,
) -> Iterator[Command]:
    """What a backend sees when it is called (see :func:`call`), around another program: *argv*."""
    out.mkdir(parents=True, exist_ok=True)
    top = repository or source
    with files.scratch(out.parent, "source") as aside:
        copy = aside / "src"
        _copy_plainly(
            top,
            copy,
            epoch=int(environment["SOURCE_DATE_EPOCH"]) if "SOURCE_DATE_EPOCH" in environment else None,
        )
        yield Command(
            argv=argv,
            cwd=str(SOURCE / source.relative_to(top)),
            environment=(*ENVIRONMENT, *sorted(environment.items())),
            binds=(
                Bind(source=env, target=PREFIX),
                Bind(source=hook_script(), target=_BUILD / "hook.py"),
                *(Bind(source=_package(name), target=_BUILD / "frontend" / name) for name in _FRONTEND),
                Bind(source=copy, target=SOURCE, writable=True),
                *([Bind(source=top / ".git", target=SOURCE / ".git")] if (top / ".git").is_dir() else []),
                Bind(source=out, target=OUT, writable=True),
            ),
            capture=True,
        )


def _package(name: str) -> Path:
    """The folder of one of our own dependencies, to be shown in the build root."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise BuildError(
            f"the installation of buildonce is incomplete: no package {name}", hint="install buildonce again"
        )
    return Path(found.origin).parent


def _copy_plainly(source: Path, into: Path, *, epoch: int | None) -> None:
    """Copy without ``.git``: modes 0644 and 0755 whatever the umask was, links as links, one time for all."""
    for folder, names, leaves in os.walk(source):
        if folder == str(source) and ".git" in names:
            names.remove(".git")
        here = into / Path(folder).relative_to(source)
        here.mkdir(mode=0o755)
        here.chmod(0o755)
        for name in [n for n in names if Path(folder, n).is_symlink()] + leaves:
            old, new = Path(folder, name), here / name
            shutil.copyfile(old, new, follow_symlinks=False)
            if not new.is_symlink():
                new.chmod(0o755 if old.stat().st_mode & 0o100 else 0o644)
            if epoch is not None:
                os.utime(new, (epoch, epoch), follow_symlinks=False)


def _step(hook: Hook) -> str:
    steps = {"wheel": "building the wheel", "sdist": "building the sdist"}
    return steps.get(hook, "asking for build requirements")


def _filled(hook: Hook, tail: str, log: Path | None) -> RootFullError:
    return RootFullError(
        f"{_step(hook)} filled /tmp, /opt or /build of its build root",
        hint=f"these are in memory, and hold {buildroot.MOST_MEMORY >> 30} GiB or a quarter of the memory at most",
        log=tail,
        log_path=str(log or ""),
    )


def _too_slow(hook: Hook, error: TimeLimitError) -> TimeLimitError:
    """The same error with the step instead of the program, which is always Python."""
    limit = str(error).rpartition(" within ")[2]
    return TimeLimitError(
        f"{_step(hook)} did not end within {limit}",
        hint=error.problems[0].hint,
        log=error.log,
        log_path=error.log_path,
    )


def _failure(hook: Hook, returncode: int, tail: str, log: Path | None) -> BuildError:
    step = _step(hook)
    marker = "missing build requirements: "
    if returncode == _LACKS_REQUIREMENT and marker in tail:
        lacking = tail.rsplit(marker, 1)[1].splitlines()[0]
        return BuildError(
            f"{step} failed: the locked build environment has no {lacking}",
            hint="run `release lock`, which asks the backend for its requirements again",
            log=tail,
            log_path=str(log or ""),
        )
    return BuildError(
        f"{step} failed (exit code {returncode})",
        hint="the end of the backend's output says why",
        log=tail,
        log_path=str(log or ""),
    )
