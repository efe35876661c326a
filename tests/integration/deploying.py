"""What the tests of `release deploy` share: somebody who deploys to a fleet, and what then has to hold on hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buildonce.version import spell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.integration.conftest import Example
    from tests.integration.fleet import Fleet
    from tests.integration.hosts import Host

__all__ = ["QUICK", "Deployer", "Report", "debian", "environment", "recorded", "sound", "status"]

# Beats are up at once: nobody waits for them longer than has to be.
QUICK: Mapping[str, Any] = {"timeout": 10, "successes": 2, "settle": 1, "guard": 60}


def environment(name: str, inventory: Path, **settings: Any) -> str:
    """The table of an environment."""
    values = {"inventory": str(inventory), **QUICK, **settings}
    rows = "\n".join(f"{key} = {_toml(value)}" for key, value in values.items())
    return f"\n[tool.release.environments.{name}]\n{rows}\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


@dataclass
class Deployer:
    """Somebody with a checkout, who runs the command."""

    site: Example
    state: Path  # where deployments leave their logs
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.site.run(*words, XDG_STATE_HOME=str(self.state), **{**self.environment, **more})

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The same, which goes on while the test does other things."""
        return subprocess.Popen(
            [sys.executable, "-m", "buildonce", *words],
            cwd=self.site.root,
            env={**os.environ, **self.site.environment, "XDG_STATE_HOME": str(self.state), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def report(self, *words: str, code: int = 0, **more: str) -> Report:
        """What `release …` reports; its exit code has to be *code*."""
        done = self.run(*words, "--json", **more)
        assert done.returncode == code, f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Report(json.loads(done.stdout))


@dataclass(frozen=True)
class Report:
    """The JSON of a deployment."""

    data: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        return str(self.data["verdict"])

    @property
    def states(self) -> dict[str, str]:
        return {one["host"]: one["state"] for one in self.data["hosts"]}

    @property
    def versions(self) -> dict[str, tuple[str, str]]:
        """Before and after."""
        return {one["host"]: (one["before"], one["after"]) for one in self.data["hosts"]}

    def said(self, host: str) -> str:
        """All problems of that host."""
        rows = next(one["problems"] for one in self.data["hosts"] if one["host"] == host)
        return "\n".join(f"{one['message']} {one['hint']}" for one in rows)


def sound(fleet: Fleet, version: str, *names: str, form: str = "deb", name: str = "beat") -> None:
    """Each host (all when none is named) has *version*, whole: installed, recorded and served are the same."""
    for one in names or fleet.hosts:
        host = fleet.nodes[one]
        said = status(host, name)
        assert (recorded(said), bool(said["pending"]), said["healthy"]) == (version, False, True), (one, said)
        code, facts = host.ask("GET", "/health")
        assert (code, facts["version"]) == (200, version), (one, facts)
        assert host.run("dpkg", "--audit") == ""
        if form == "deb":
            assert debian(host, name).rpartition("-")[0] == spell(version).debian, one
    if fleet.nodes.get("lb") and not names:
        assert set(fleet.servers().values()) == {"UP"}


def status(host: Host, name: str = "beat") -> dict[str, Any]:
    """What the host says of itself."""
    said = host.sh(f"python3 /var/lib/release/{name}/host.pyz status --name {name} 2>/dev/null")
    return dict(json.loads(said.splitlines()[-1]))


def recorded(said: Mapping[str, Any]) -> str:
    """The version that the host has by its own record."""
    return str((said["current"] or {}).get("version", ""))


def debian(host: Host, name: str = "beat") -> str:
    """The installed Debian version, or what dpkg says instead."""
    said = host.run("dpkg-query", "-Wf", "${db:Status-Abbrev} ${Version}", name, check=False).split()
    return said[1] if said[0] in ("ii", "hi") else " ".join(said)  # held, so that nothing else moves it
