"""The released artifact on the machine of who develops it: started with what it needs, and removed again."""

from __future__ import annotations

from buildonce.local.choosing import Form
from buildonce.local.controller import Running, Wish, down, up

__all__ = ["Form", "Running", "Wish", "down", "up"]
