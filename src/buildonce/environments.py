"""What ``[tool.release.environments.<name>]`` may say: the hosts that a release is deployed to, and how.

Nothing here, nor in a recipe, asks for an environment's name: staging and production are the same code with other
values.
"""

from __future__ import annotations

import shlex
from typing import Annotated, Final, Literal

from pydantic import Field, StrictInt, model_validator

from buildonce.tables import Matching, Program, Table

__all__ = ["Balancer", "Environment", "Form", "Hooks"]

Form = Literal["deb", "pex", "wheelhouse", "oci"]
"""What of a release is installed on hosts."""

_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"

_Path = Annotated[str, Matching(r"[^\x00-\x1f\x7f]+", "a path, absolute or below the project")]
_Host = Annotated[str, Matching(_HOST, "the name of a host in the inventory")]
_Batch = (
    Annotated[StrictInt, Field(ge=1)]
    | Annotated[str, Matching(r"[1-9][0-9]?%|100%", "a number of hosts, or a share of them such as 25%")]
)
_Word = Annotated[str, Matching(r"[A-Za-z0-9_.-]+", "a word of letters, digits, dots, - and _")]
_Socket = Annotated[str, Matching(r"(?:/[A-Za-z0-9._-]+)+", "an absolute path of plain characters")]


class Hooks(Table):
    """Programs of the controller: run in the project's folder, with `RELEASE_…` in their environment."""

    before: Program = ""
    """Before the first host is changed; when it fails, none is."""
    after: Program = ""
    """After all hosts were confirmed."""
    failed: Program = ""
    """After a deployment that did not succeed."""


class Balancer(Table):
    """What sends requests to the hosts: a haproxy with `haproxy` and `backend`, or programs: `drain` and `undrain`."""

    haproxy: _Host | None = None
    """The host that haproxy runs on, by its name in the inventory."""
    backend: _Word | None = None
    """The backend; its servers have the names that the hosts have in the inventory."""
    socket: _Socket = "/run/haproxy/admin.sock"
    """The statistics socket, of level admin."""
    drain: Program | None = None
    """Takes the host `RELEASE_HOST` out, and ends when it has no requests left."""
    undrain: Program | None = None
    """Puts it back."""

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Balancer:
        haproxy, programs = (self.haproxy, self.backend), (self.drain, self.undrain)
        if (all(haproxy) and not any(programs)) or (all(programs) and not any(haproxy)):
            return self
        msg = "a balancer is `haproxy` and `backend`, or `drain` and `undrain`"
        raise ValueError(msg)


class Environment(Table):
    """Hosts, and how a release gets there. The recipe is the same for every environment."""

    inventory: _Path
    """Ansible's inventory: a file or a folder. The hosts are those of the group `app`, or without one all but the
    balancer's."""
    recipe: Literal["ansible"] = "ansible"
    """What does it: `ansible`."""
    format: Form = "deb"
    """What is installed: `deb`, `pex`, `wheelhouse` or `oci`."""
    source: Literal["bundle", "apt"] = "bundle"
    """Where hosts have it from: `bundle`, copied by the controller; or `apt`, the repository that `publish` names."""
    publish: str = ""
    """With `source = "apt"`: the destination in [tool.release.publish] whose repository hosts use."""
    batches: Annotated[tuple[_Batch, ...], Field(min_length=1)] = (1, "10%", "50%", "100%")
    """How many hosts in all have the new version after each batch."""
    soak: Annotated[float, Field(ge=0, le=86_400)] = 0
    """Seconds to wait between two batches."""
    acceptance: Program = ""
    """Run after each batch, as an end user would use the service; when it fails the deployment has failed."""
    on_failure: Literal["rollback", "batch", "freeze"] = "rollback"
    """What then happens to hosts that have the new version: all go back, those of the batch go back, or none."""
    timeout: Annotated[float, Field(gt=0, le=3_600)] = 60
    """Seconds in which a started service has to be healthy."""
    successes: Annotated[StrictInt, Field(ge=1, le=100)] = 3
    """How many good answers in a row make it healthy."""
    settle: Annotated[float, Field(ge=0, le=3_600)] = 3
    """Seconds that it then has to stay up without a restart."""
    guard: Annotated[StrictInt, Field(ge=5, le=86_400)] = 300
    """Seconds after which a host that hears nothing of its deployment goes back by itself."""
    keep: Annotated[StrictInt, Field(ge=2, le=100)] = 5
    """How many versions a host keeps."""
    engine: Literal["docker", "podman"] = "docker"
    """With `format = "oci"`: what runs containers on the hosts."""
    balancer: Balancer | None = None
    """What sends requests to the hosts: each is taken out of it while it changes."""
    hooks: Hooks = Hooks()
    """Programs that are run around a deployment."""

    @model_validator(mode="after")
    def _fits_together(self) -> Environment:
        if self.source == "apt" and (self.format != "deb" or not self.publish):
            msg = 'source = "apt" is for format = "deb", and needs `publish`, the name of the repository\'s destination'
            raise ValueError(msg)
        for line in (self.acceptance, self.hooks.before, self.hooks.after, self.hooks.failed):
            try:
                shlex.split(line)
            except ValueError as error:
                msg = f"{line!r} is no command line: {error}"
                raise ValueError(msg) from error
        return self
