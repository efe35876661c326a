"""Publishes to a package index: devpi, or any that takes what twine and uv send.

The wheels and the sdist are uploaded; on devpi the signed documents travel with them as the documentation of the
version, which is the one place there that keeps any file.
"""

from buildonce.publishers.index.packages import PackageIndex
from buildonce.publishers.index.promotion import promote
from buildonce.publishers.index.publisher import IndexPublisher

__all__ = ["IndexPublisher", "PackageIndex", "promote"]
