"""Runs programs inside a build root, in bubblewrap (bwrap(1)): no network, no environment, no host files.

The same for root and for an ordinary user: a user namespace with user 0 and no capability at all.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from buildonce.errors import BuildError, MissingToolError
from buildonce.model import Command, Outcome

if TYPE_CHECKING:
    from buildonce.protocols import Runner

__all__ = ["MOUNT_POINTS", "RootRunner", "check"]

MOUNT_POINTS: Final = ("build", "dev", "home", "opt", "proc", "tmp")

_ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_ISOLATION: Final = (
    *("--unshare-user", "--unshare-ipc", "--unshare-pid"),
    *("--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
    *("--uid", "0", "--gid", "0", "--cap-drop", "ALL", "--hostname", "build"),
    *("--die-with-parent", "--new-session", "--clearenv"),
)
# bwrap has no option for the umask, which would otherwise be the caller's.
_ENTER: Final = ("/bin/sh", "-c", 'umask 022; exec "$@"', "sh")
_NOT_FOUND: Final = 127


class RootRunner:
    """A :class:`buildonce.protocols.Runner` whose programs see *root* as ``/`` and nothing of this machine.

    The root is read-only; ``/build``, ``/opt`` and ``/tmp`` are empty and in memory, ``command.binds`` are
    mounted over them. The environment is fixed (no host variable), the umask 022. All processes that a
    command leaves behind end with it. Needs ``bwrap``; raises :class:`MissingToolError` with the line that
    mends it when this machine cannot make a sandbox.
    """

    def __init__(self, root: Path, host: Runner, *, writable: bool = False) -> None:
        self.root, self.host, self._writable = root, host, writable

    def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
        """See :class:`buildonce.protocols.Runner`; ``cwd`` and the binds' targets are inside the root."""
        program = PurePosixPath(command.argv[0]).name
        for bind in command.binds:
            if not bind.source.exists():
                raise BuildError(f"{program} cannot be run: there is no {bind.source} to show it at {bind.target}")
        outer = Command(argv=self._argv(command), capture=command.capture, timeout=command.timeout)
        try:
            outcome = self.host.run(outer, log=log, check=False)
        except BuildError as error:  # a timeout, of which the host's runner names the sandbox as the program
            raise BuildError(
                f"{program} did not end within {command.timeout or 0:.0f} s",
                log=error.log,
                log_path=str(log or ""),
            ) from error
        if outcome.returncode != 0:
            self._explain(program, outcome)
            if check:
                raise BuildError(
                    f"{program} ended with exit code {outcome.returncode}",
                    where="in the build root",
                    log=outcome.tail,
                    log_path=str(log or ""),
                )
        return outcome

    def _argv(self, command: Command) -> tuple[str, ...]:
        argv = [*_sandbox(), "--bind" if self._writable else "--ro-bind", str(self.root), "/"]
        argv += ["--dev", "/dev", "--proc", "/proc"]
        for folder in ("/tmp", "/opt", "/build"):  # noqa: S108  # inside the sandbox
            argv += ["--tmpfs", folder]
        for bind in command.binds:
            argv += ["--bind" if bind.writable else "--ro-bind", str(bind.source.resolve()), str(bind.target)]
        for name, value in {**_ENVIRONMENT, **dict(command.environment)}.items():
            argv += ["--setenv", name, value]
        return (*argv, "--chdir", command.cwd, "--", *_ENTER, *command.argv)

    def _explain(self, program: str, outcome: Outcome) -> None:
        """Raise what is meant when it was not the program that failed."""
        if outcome.returncode == _NOT_FOUND and re.search(r"^sh: .*\bnot found$", outcome.tail, re.MULTILINE):
            raise MissingToolError(
                f"the program {program} is not in the build root",
                where=str(self.root),
                hint="add the package that has it to the target's toolchain, then `release lock`",
            )
        if re.search(r"^bwrap: ", outcome.tail, re.MULTILINE):
            check(self.host)


def check(host: Runner) -> None:
    """Make an empty sandbox. Raises :class:`MissingToolError` when bubblewrap is missing or may not."""
    argv = (*_sandbox(), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--", "true")
    outcome = host.run(Command(argv=argv), check=False)
    if outcome.returncode != 0:
        said = outcome.tail.strip()
        raise MissingToolError(
            "this machine does not let bubblewrap make a sandbox",
            where=said.splitlines()[-1] if said else "",
            hint=_cure(),
        )


def _sandbox() -> tuple[str, ...]:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise MissingToolError(
            "bubblewrap, which isolates builds, is not on this machine", hint="sudo apt install bubblewrap"
        )
    # bwrap runs as process 1 of the sandbox and keeps the environment it was started with readable in
    # /proc/1/environ, whatever --clearenv does for the program: so it must not get any.
    return ("env", "-i", bwrap, *_ISOLATION)


def _cure() -> str:
    """The next step, from the switches that distributions have for user namespaces."""
    switches = (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu since 23.10
        ("kernel/unprivileged_userns_clone", "0", "1"),  # Debian before 11, hardened kernels
        ("user/max_user_namespaces", "0", "15000"),
    )
    for name, forbids, allows in switches:
        path = Path("/proc/sys", name)
        if path.is_file() and path.read_text().strip() == forbids:
            return f"sudo sysctl -w {name.replace('/', '.')}={allows}"
    options = " ".join(f"--security-opt {name}=unconfined" for name in ("seccomp", "apparmor", "systempaths"))
    return f"allow user namespaces; a container has to be started with `docker run {options}`"
