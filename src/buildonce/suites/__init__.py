"""A static apt repository: a folder with a pool of debs and suites, which are signed lists of them.

Formats: the Debian repository format (wiki.debian.org/DebianRepository/Format), deb822(5), apt-secure(8). The lists and
the Release file are made by apt-ftparchive(1); what is new here is the order in which files appear, so that hosts never
see half of a change, and that nothing is signed which was not signed before or comes from a verified release.
"""

from buildonce.suites.packages import Package
from buildonce.suites.repository import Repository, Suite

__all__ = ["Package", "Repository", "Suite"]
