"""The dead man's switch: a timer that brings the version before back when nobody confirms the new one.

It is a transient unit, so it is gone after a restart of the machine; then the boot unit does the same (unit.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import shell

if TYPE_CHECKING:
    from record import Place


def name(place: Place) -> str:
    return f"release-guard-{place.name}"


def start(place: Place, deployment: str, seconds: float) -> None:
    """Let it act in so many seconds; one that waits for its turn, or tries again and again, gives up. Nobody but the
    caller is at work. Raises :class:`Refused`.
    """
    service = f"{name(place)}.service"
    shell.run("systemctl", "stop", f"{name(place)}.timer", service, f"release-boot@{place.name}.service")
    shell.run("systemctl", "reset-failed", service, quiet=True)
    shell.must(
        *("systemd-run", "--quiet", "--collect", f"--unit={name(place)}", f"--on-active={seconds:g}s"),
        *("--property=Restart=on-failure", "--property=RestartSec=30", "--timer-property=AccuracySec=1s"),
        *(f"--description=Roll back of {place.name} unless it is confirmed",),
        *("/usr/bin/python3", str(place.program), "guard", "--name", place.name, "--deployment", deployment),
        why="the guard cannot be armed",
    )


def stop(place: Place) -> None:
    """Not the roll back itself, when that has begun."""
    shell.run("systemctl", "stop", f"{name(place)}.timer")
