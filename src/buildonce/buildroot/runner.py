"""Runs programs inside a build root, in bubblewrap (bwrap(1)): no network, no environment, no host files.

The same for root and for an ordinary user: a user namespace with user 0 and no capability at all.
"""

from __future__ import annotations

import os
import re
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce.buildroot import environment
from buildonce.errors import MissingToolError, TimeLimitError
from buildonce.model import Command, Outcome

if TYPE_CHECKING:
    from buildonce.protocols import Host, Runner

__all__ = ["RootRunner", "check"]

_ISOLATION: Final = (
    *("--unshare-user", "--unshare-ipc", "--unshare-pid"),
    *("--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
    *("--uid", "0", "--gid", "0", "--cap-drop", "ALL", "--hostname", environment.HOSTNAME),
    *("--die-with-parent", "--clearenv"),
)
# bwrap has no option for the umask, nor for signals that the caller ignores, as nohup and background jobs do.
_ENTER: Final = ("/usr/bin/env", "--default-signal", "/bin/sh", "-c", 'umask 022; exec "$@"', "sh")

# Where any machine has `true` and its libraries. All of `/` would bring every mount of the machine along, and bwrap
# fails when one goes away meanwhile, as those of Docker's containers do.
_PROGRAMS: Final = ("/usr", "/bin", "/lib", "/lib64", "/nix", "/gnu")


class RootRunner:
    """A :class:`buildonce.protocols.Runner` whose programs see *root* as ``/`` and nothing of this machine.

    The root is read-only; ``/build``, ``/opt`` and ``/tmp`` are empty and in memory, ``command.binds`` are
    mounted over them. The environment is fixed (no host variable), the umask 022. All processes that a
    command leaves behind end with it; one that takes longer than *limit* seconds (or its own timeout) raises
    :class:`TimeLimitError`. Needs ``bwrap``; raises :class:`MissingToolError` with the line that mends it when
    this machine cannot make a sandbox.
    """

    def __init__(self, root: Path, host: Host, *, limit: float = environment.LIMIT) -> None:
        self.root, self.host, self._limit = root, host, limit

    def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
        """See :class:`buildonce.protocols.Runner`; ``cwd`` and the binds' targets are inside the root."""
        environment.check_binds(command)
        limit = command.timeout or self._limit
        argv = (*_sandbox(), "--new-session", *self._argv(command))
        try:
            outcome = self.host.run(Command(argv=argv, capture=command.capture, timeout=limit), log=log, check=False)
        except TimeLimitError as error:  # which names the sandbox as the program
            told = TimeLimitError.of_program(command.argv[0], limit)
            told.log, told.log_path = error.log, error.log_path
            raise told from error
        if outcome.returncode and re.search(r"^bwrap: ", outcome.tail, re.MULTILINE):
            _check(self.host)
        return environment.judge(command, outcome, self.root, log=log, check=check)

    def interact(self, command: Command) -> int:
        """Join this terminal with *command* until it ends; answers its exit code."""
        environment.check_binds(command)
        return self.host.interact((*_sandbox(), *self._argv(command)))

    def _argv(self, command: Command) -> tuple[str, ...]:
        argv = ["--ro-bind", str(self.root), "/", "--dev", "/dev", "--proc", "/proc"]
        for folder in environment.MEMORY:
            argv += [*_at_most(), "--tmpfs", folder]
        for bind in command.binds:
            argv += ["--bind" if bind.writable else "--ro-bind", str(bind.source.resolve()), str(bind.target)]
        for name, value in environment.variables(command).items():
            argv += ["--setenv", name, value]
        return (*argv, "--chdir", command.cwd, "--", *_ENTER, *command.argv)


def check(host: Runner) -> str:
    """Make an empty sandbox; answers the program that did.

    Raises :class:`MissingToolError` when bubblewrap is missing or may not.
    """
    programs = [word for folder in _PROGRAMS for word in ("--ro-bind-try", folder, folder)]
    argv = (*_sandbox(), *programs, "--dev", "/dev", "--proc", "/proc", "--", "true")
    outcome = host.run(Command(argv=argv), check=False)
    if outcome.returncode != 0:
        said = outcome.tail.strip()
        raise MissingToolError(
            "this machine does not let bubblewrap make a sandbox",
            where=said.splitlines()[-1] if said else "",
            hint=_cure(),
        )
    return str(shutil.which("bwrap"))


_check = check  # run() has an argument of that name


def _sandbox() -> tuple[str, ...]:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise MissingToolError(
            "bubblewrap, which isolates builds, is not on this machine", hint="sudo apt install bubblewrap"
        )
    # bwrap runs as process 1 of the sandbox and keeps the environment it was started with readable in
    # /proc/1/environ, whatever --clearenv does for the program: so it must not get any.
    return ("env", "-i", bwrap, *_ISOLATION)


@cache
def _at_most() -> tuple[str, ...]:
    """The limit of a folder in memory. Before 0.7, bwrap had none but the kernel's: half of the memory."""
    bwrap = shutil.which("bwrap")
    return (
        ("--size", str(min(environment.MOST_MEMORY, _memory() // 4)))
        if bwrap and b"--size" in Path(bwrap).read_bytes()
        else ()
    )


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
