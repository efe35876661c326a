"""Effects, at the rim: processes, HTTP, files, the store and the console. Nothing else touches the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildonce.protocols import Host, Progress, Vault
    from buildonce.system.net import Net
    from buildonce.system.store import Store

__all__ = ["System"]


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """The machine as the pipeline sees it, handed to every step that has effects."""

    store: Store
    net: Net
    host: Host  # runs programs on this machine
    progress: Progress
    vaults: tuple[Vault, ...] = ()  # asked, in this order, for what the store has not, before any upstream
    offline: bool = False  # no upstream is asked at all
