"""A container registry, spoken to directly: blobs and manifests by digest (OCI distribution specification 1.1)."""

from __future__ import annotations

from buildonce.registry.client import Descriptor, Registry
from buildonce.registry.repository import Repository

__all__ = ["Descriptor", "Registry", "Repository"]
