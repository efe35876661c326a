"""Wheels: the door check, what they say about themselves, and whether they fit a target and each other."""

from __future__ import annotations

from buildonce.wheels.door import admit, facts
from buildonce.wheels.facts import Script, WheelFacts
from buildonce.wheels.fitting import closure, fits

__all__ = ["Script", "WheelFacts", "admit", "closure", "facts", "fits"]
