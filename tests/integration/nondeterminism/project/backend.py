"""A build backend (PEP 517) that gives the same bytes everywhere, but for what ``fault.py`` puts in.

A fault has ``facts()``, the text of one more file, or replaces how the wheel is written: ``mode``, ``order``, ``LEVEL``.
"""

import base64
import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import fault

TOP = "shop-1.0"
INFO = f"{TOP}.dist-info"
METADATA = "Metadata-Version: 2.2\nName: shop\nVersion: 1.0\nRequires-Python: >=3.11\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: backend (1)\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    Path(metadata_directory, INFO).mkdir()
    Path(metadata_directory, INFO, "METADATA").write_text(METADATA)
    return INFO


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    package = [path for path in Path("shop").rglob("*.*") if "__pycache__" not in path.parts]
    members = {path.as_posix(): path.read_bytes() for path in sorted(package)}
    if hasattr(fault, "facts"):
        members["shop/facts.txt"] = fault.facts().encode()
    members[f"{INFO}/METADATA"] = METADATA.encode()
    members[f"{INFO}/WHEEL"] = WHEEL.encode()
    members[f"{INFO}/entry_points.txt"] = b"[console_scripts]\nshop = shop:main\n"
    rows = [f"{name},sha256={digest(data)},{len(data)}\n" for name, data in members.items()]
    members[f"{INFO}/RECORD"] = "".join([*rows, f"{INFO}/RECORD,,\n"]).encode()
    name = f"{TOP}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, name), "w") as wheel:
        for path in getattr(fault, "order", list)(members):
            member = zipfile.ZipInfo(path)
            member.external_attr = (0o100000 | getattr(fault, "mode", lambda: 0o644)()) << 16
            level = getattr(fault, "LEVEL", 6)
            wheel.writestr(member, members[path], compress_type=zipfile.ZIP_DEFLATED, compresslevel=level)
    return name


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def build_sdist(sdist_directory, config_settings=None):
    name = f"{TOP}.tar.gz"
    with tarfile.open(Path(sdist_directory, name), "w:gz") as sdist:
        for path in ("pyproject.toml", "backend.py", "fault.py", "shop"):
            sdist.add(path, f"{TOP}/{path}", filter=lambda info: None if "__pycache__" in info.name else info)
        member = tarfile.TarInfo(f"{TOP}/PKG-INFO")
        member.size = len(METADATA)
        member.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
        sdist.addfile(member, io.BytesIO(METADATA.encode()))
    return name
