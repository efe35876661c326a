"""A container of an environment: how it is to be started, and what is there. See :mod:`buildonce.system.services`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Found", "Said", "Service", "Volume"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """A volume, kept until all is removed, at *place* in a container."""

    role: str
    place: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A container to start. What is not said is as its image has it."""

    role: str  # what it is to the others: with the name of all it is the container's name
    image: str
    aliases: tuple[str, ...] = ()  # its host names in the network
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    ports: Mapping[int, int] = field(default_factory=dict)  # its own → on 127.0.0.1; 0 for any that is free
    volumes: tuple[Volume, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)  # folder that cannot be written → the volume's role
    strict: bool = False  # may write nowhere else, has no capability and gets none
    init: bool = False  # process 1 is the engine's own init
    tasks: int = 1024
    memory: int = 0  # bytes; 0 for no limit
    cpus: float = 0
    systemd: bool = False
    watched: bool = False  # the engine checks its health, if the image says how
    facts: Mapping[str, str] = field(default_factory=dict)  # kept with the container


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A container that is there."""

    id: str
    role: str
    name: str
    image: str  # the id
    running: bool
    ports: Mapping[int, int]
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a program in a container answered."""

    code: int
    output: str
