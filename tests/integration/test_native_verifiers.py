"""Every command of docs/how-to/verify-without-buildonce.md, on a good release and on changed ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce.signing import keys, openpgp, release
from tests import small_release
from tests.integration import tools

if TYPE_CHECKING:
    from buildonce.signing import Key

pytestmark = pytest.mark.integration

MANUAL = Path(__file__).parents[2] / "docs" / "how-to" / "verify-without-buildonce.md"
WHEEL = f"tinyapp-{small_release.VERSION.pep440}-py3-none-any.whl"

# Heading → which cosign its commands mean, and the files in which a changed byte has to be refused.
SECTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "With openssl": ("", ("SHA256SUMS", "SHA256SUMS.sig")),
    "With ssh-keygen": ("", ("SHA256SUMS", "SHA256SUMS.sshsig")),
    "With gpgv": ("", ("SHA256SUMS", "SHA256SUMS.asc")),
    "Then the files": ("", (WHEEL, "release.json", "sbom.cdx.json", "provenance.json")),
    "With cosign 3": (
        "sid",
        (WHEEL, *(f"attestations/team/{name}.sigstore.json" for name in ("release", "provenance", "sbom"))),
    ),
    "With cosign 2": ("trixie", (WHEEL, "attestations/team/provenance.sigstore.json")),
    "A statement with openssl alone": ("", ("release.json", "attestations/team/release.sigstore.json")),
}


def commands() -> dict[str, str]:
    """Heading → the shell commands below it; those before the first heading are under ``""``."""
    found: dict[str, str] = {}
    for part in re.split(r"^## ", "\n" + MANUAL.read_text("utf-8"), flags=re.MULTILINE):
        blocks = re.findall(r"^```sh\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)
        if blocks:
            found["" if part.startswith("\n#") else part.partition("\n")[0]] = "".join(blocks)
    return found


COMMANDS = commands()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """A key with a passphrase in $HOME/trust, as the manual has it."""
    return keys.new(tmp_path_factory.mktemp("home") / "trust" / "team", b"secret")


@pytest.fixture(scope="module")
def home(key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next(path for path in tmp_path_factory.getbasetemp().glob("home*") if (path / "trust/team.key").exists())


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    folder = small_release.unsigned(tmp_path_factory.mktemp("release") / "tinyapp")
    release.sign(folder, key)
    return folder


def follow(section: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the commands below the heading *section* in *folder*, behind a proxy that is not there."""
    suite = SECTIONS[section][0]
    programs = f"{tools.cosign(suite).parent}:" if suite else ""
    return subprocess.run(
        ["sh", "-c", COMMANDS[""] + COMMANDS[section]],
        cwd=folder,
        env={"PATH": programs + os.environ["PATH"], "HOME": str(home), "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_command_of_the_manual_is_run_here() -> None:
    assert COMMANDS.keys() == {"", *SECTIONS}


@pytest.mark.parametrize("section", SECTIONS)
def test_a_good_release_is_accepted(section: str, signed: Path, home: Path) -> None:
    outcome = follow(section, signed, home)

    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section, (_, names) in SECTIONS.items() for name in names]
)
def test_a_changed_byte_is_refused(section: str, name: str, signed: Path, home: Path, key: Key, tmp_path: Path) -> None:
    folder = shutil.copytree(signed, tmp_path / "tinyapp")
    path = folder / name.replace("/team/", f"/{key.public.folder}/")
    data = path.read_bytes()
    middle = data.index(b'"sig":"') + 40 if path.suffix == ".json" and b'"sig":"' in data else len(data) // 2
    path.write_bytes(data[:middle] + (b"A" if data[middle : middle + 1] != b"A" else b"B") + data[middle + 1 :])

    assert follow(section, folder, home).returncode != 0


@pytest.mark.parametrize("section", [section for section in SECTIONS if section != "Then the files"])
def test_another_key_is_refused(section: str, signed: Path, home: Path, tmp_path: Path) -> None:
    keys.new(tmp_path / "trust" / "team", None)

    assert follow(section, signed, tmp_path).returncode != 0


def said(*argv: str | Path) -> str:
    outcome = subprocess.run([str(one) for one in argv], capture_output=True, text=True, check=True)
    return outcome.stdout


def test_other_programs_open_the_protected_key(home: Path, key: Key, tmp_path: Path) -> None:
    secret = home / "trust" / "team.key"
    (tmp_path / "pass").write_text("secret")

    public = said("openssl", "pkey", "-in", secret, "-passin", f"file:{tmp_path / 'pass'}", "-pubout")
    structure = said("openssl", "asn1parse", "-in", secret)

    assert public.encode() == key.public.pem == (home / "trust" / "team.pub").read_bytes()
    for part in (":PBES2", ":scrypt", ":4000", ":aes-256-cbc"):  # N = 0x4000
        assert part in structure


def test_other_programs_name_the_key_as_we_do(home: Path, key: Key) -> None:
    assert key.public.keyid in said("ssh-keygen", "-lf", home / "trust" / "team.ssh.pub")
    listing = said("gpg", "--homedir", home, "--with-colons", "--show-keys", home / "trust" / "team.asc")
    assert f":{openpgp.fingerprint(key.public)}:" in listing


def test_a_signature_for_another_purpose_is_no_release(signed: Path, home: Path, tmp_path: Path) -> None:
    """ssh-keygen itself refuses it: the namespace is in the allowed signers' line."""
    keys.new(tmp_path / "open", None)
    said("ssh-keygen", "-Y", "sign", "-f", tmp_path / "open.key", "-n", "git", _beside(tmp_path, signed))

    signers, signature = str(tmp_path / "open.allowed_signers"), str(tmp_path / "SHA256SUMS.sig")
    outcome = subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "open", "-n", "git", "-s", signature],
        input=(signed / "SHA256SUMS").read_bytes(),
        capture_output=True,
        check=False,
    )

    assert outcome.returncode != 0


def _beside(tmp_path: Path, signed: Path) -> Path:
    """ssh-keygen wants NAME.key.pub beside the key, and writes FILE.sig beside the file."""
    shutil.copyfile(tmp_path / "open.ssh.pub", tmp_path / "open.key.pub")
    return Path(shutil.copyfile(signed / "SHA256SUMS", tmp_path / "SHA256SUMS"))
