"""Whether this machine runs programs of a target's architecture: its own do, others where the kernel has an
emulator for them (binfmt_misc; ``Documentation/admin-guide/binfmt-misc.rst`` of Linux).
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce.errors import MissingToolError

if TYPE_CHECKING:
    from buildonce.model import Target

__all__ = ["check"]

_ALSO: Final = {"x86_64": ("i686",)}
_REGISTERED: Final = Path("/proc/sys/fs/binfmt_misc")


def check(target: Target, *, here: str = "", registered: Path = _REGISTERED) -> None:
    """Raise :class:`MissingToolError` when this machine cannot run *target*'s programs; *here* is its kernel's name."""
    here = here or platform.machine()
    if target.machine in (here, *_ALSO.get(here, ())) or _is_emulated(registered / f"qemu-{target.machine}"):
        return
    raise MissingToolError(
        f"the build root of {target.name} has {target.machine} programs, which this {here} machine cannot run",
        where=f"target {target.name}",
        hint=f"build on a machine that is {target.machine}, or register qemu for it:"
        " sudo apt-get install qemu-user-static binfmt-support",
    )


def _is_emulated(entry: Path) -> bool:
    """Whether *entry* is enabled, and its interpreter is opened beforehand (F): the build root does not have it."""
    try:
        first, *rest = entry.read_text("utf-8").splitlines() or [""]
    except OSError:
        return False
    return first == "enabled" and any(line.startswith("flags:") and "F" in line for line in rest)
