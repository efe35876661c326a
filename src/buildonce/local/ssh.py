"""The way of Ansible into a container: keys that are made for it, and an inventory of it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buildonce.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.system.services import Found, Services

__all__ = ["PORT", "inventory"]

PORT: Final = 22

# Host keys that no other container has.
_PREPARE: Final = """
install -d -m 700 /root/.ssh
ssh-keygen -A >/dev/null 2>&1
systemctl start ssh
cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub
"""


def inventory(place: Services, host: Found, port: int, folder: Path) -> Path:
    """Let a new key into *host*, whose sshd is at 127.0.0.1:*port*; answers Ansible's inventory, written into *folder*.

    The host's key is known by another way than ssh, and checked.
    """
    private, public = _pair()
    said = place.execute(host, "sh", "-euc", _PREPARE)
    if said.code:
        raise BuildError("the host's sshd did not start", where=host.name, log=said.output)
    place.put(host, "/root/.ssh", {"authorized_keys": public}, mode=0o600)
    key, known = folder / "key", folder / "known_hosts"
    key.touch(mode=0o600)
    key.write_bytes(private)
    known.write_text(f"[127.0.0.1]:{port} {said.output.strip()}\n")
    options = (
        *("-F /dev/null", "-o IdentitiesOnly=yes", "-o BatchMode=yes", "-o StrictHostKeyChecking=yes"),
        *(f"-o UserKnownHostsFile={known}", "-o ConnectTimeout=10", f"-o ControlPath={folder}/%C"),
    )
    lines = (
        "[app]",
        f"{place.name} ansible_host=127.0.0.1 ansible_port={port}",
        "[app:vars]",
        "ansible_user=root",
        f"ansible_ssh_private_key_file={key}",
        f'ansible_ssh_common_args="{" ".join(options)}"',
        "ansible_python_interpreter=/usr/bin/python3",
    )
    path = folder / "hosts.ini"
    path.write_text("\n".join(lines) + "\n")
    return path


def _pair() -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.OpenSSH, forms.NoEncryption())
    return private, key.public_key().public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH) + b"\n"
