"""A folder vault behind a web server: read only, by plain GET."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from buildonce.system.net import RefusedError, shown
from buildonce.vault.contents import file_place, listing_place

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.model import Digest, RemoteFile
    from buildonce.system.net import Net

__all__ = ["WebVault"]

_ABSENT = (403, 404, 410)  # some servers say 403 of what is not there


class WebVault:
    """See :class:`buildonce.protocols.Vault`."""

    def __init__(self, url: str, net: Net) -> None:
        self._url, self._net = url.rstrip("/"), net

    @property
    def name(self) -> str:
        """The address, without credentials."""
        return shown(self._url)

    def bring(self, file: RemoteFile, part: Path, *, came: Callable[[int], None], stop: threading.Event) -> bool:
        """See :meth:`buildonce.protocols.Vault.bring`."""
        url = f"{self._url}/{quote(file_place(file.sha256, file.filename))}"
        try:
            self._net.download(url, part, size=file.size, came=came, stop=stop)
        except RefusedError as error:
            if error.status in _ABSENT:
                return False
            raise
        return True

    def listing(self, digest: Digest) -> bytes | None:
        """The listing of the lock *digest*, or None when its inputs are not kept here."""
        try:
            return self._net.read(f"{self._url}/{listing_place(digest)}")
        except RefusedError as error:
            if error.status in _ABSENT:
                return None
            raise
