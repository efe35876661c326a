"""Real releases of ``beat``, a service of no dependencies: two good ones, and one for each thing that goes wrong.

A version is built by the command when a test first asks for it, once for all processes of a test run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.integration.conftest import Built, Example, repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest

__all__ = ["FAULTS", "Beats"]

PROJECT: Final = Path(__file__).parent / "beat"

# What is wrong with each version; it stands in the source of its commit.
FAULTS: Final[Mapping[str, str]] = {
    "1.0.0": "",
    "1.1.0": "",
    "1.2.0": "unhealthy",  # /health answers 503, everything else 200
    "1.3.0": "crash",  # ends at start, with 1
    "1.4.0": "impostor",  # says that it is 0.9.0
    "1.5.0": "migration",  # `beat migrate` ends with 1
    "1.6.0": "hang",  # runs, never listens
}


@dataclass(frozen=True)
class Beats:
    """The project and its releases: ``beats["1.2.0"]``."""

    folder: Path
    _built: dict[str, Built] = field(default_factory=dict)

    @classmethod
    def make(cls, factory: pytest.TempPathFactory) -> Beats:
        """The project, locked, with a commit and a tag for each version; one for all processes of the run."""
        base = factory.getbasetemp()
        shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        beats = cls(shared / "beats")
        beats.folder.mkdir(exist_ok=True)
        with beats._alone("project"):
            if not beats.root.exists():
                making = beats.folder / "making"
                shutil.copytree(PROJECT, making, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
                _history(making, beats.environment)
                making.rename(beats.root)
        return beats

    @property
    def root(self) -> Path:
        """The project's repository, at its last commit."""
        return self.folder / "beat"

    @property
    def home(self) -> Path:
        """Where the keys are that all of them are signed with (XDG_CONFIG_HOME)."""
        return self.folder / "config"

    @property
    def key(self) -> Path:
        """The public key of their signatures; there after the first release."""
        return self.home / "buildonce/keys/workstation.pub"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the command needs to find those keys."""
        return {"XDG_CONFIG_HOME": str(self.home)}

    def __getitem__(self, version: str) -> Built:
        if version not in self._built:
            self._built[version] = self._release(version)
        return self._built[version]

    def site(self, folder: Path, more: str, *versions: str) -> Example:
        """The checkout of somebody who deploys: a clone in *folder*, *more* at the end of its pyproject.toml, and
        the releases of *versions* in ``dist/``: copies, which a test may spoil.
        """
        root = folder / "beat"
        subprocess.run(["git", "clone", "--quiet", str(self.root), str(root)], check=True)
        with (root / "pyproject.toml").open("a") as settings:
            settings.write(more)
        for version in versions:
            built = self[version].folder
            shutil.copytree(built, root / "dist" / built.name)
        return Example(root, self.environment)

    def _release(self, version: str) -> Built:
        said = self.folder / f"{version}.json"
        # One key for all: the first build makes it.
        with self._alone(version), contextlib.nullcontext() if self.key.exists() else self._alone("key"):
            if not said.exists():
                checkout = Example(self.folder / version / "beat", self.environment)
                subprocess.run(["git", "clone", "--quiet", str(self.root), str(checkout.root)], check=True)
                checkout.git("checkout", "--quiet", f"v{version}")
                text = json.dumps(checkout.release("build"))
                said.with_suffix(".new").write_text(text)
                said.with_suffix(".new").rename(said)
        data = json.loads(said.read_text())
        return Built(Path(data["dir"]), data)

    @contextlib.contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Let no other process do the same meanwhile."""
        with (self.folder / f"{what}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _history(root: Path, environment: Mapping[str, str]) -> None:
    """A commit and a tag for each version."""
    first, *others = FAULTS
    project = repository(root, tag=f"v{first}", **environment)
    behaviour = root / "src/beat/behaviour.py"
    good = behaviour.read_text()
    for version in others:
        behaviour.write_text(good.replace('FAULT = ""', f'FAULT = "{FAULTS[version]}"'))
        project.commit(f"Version {version}", **{"README.md": f"# beat\n\nSays its version, {version}, over HTTP.\n"})
        project.git("tag", f"v{version}")
