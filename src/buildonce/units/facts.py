"""What unit files say beside the settings of the service, and what all of them share."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buildonce.system import share

if TYPE_CHECKING:
    from buildonce.project import Project
    from buildonce.service import Service

__all__ = ["Facts", "common", "confined", "homepage", "synopsis"]

_WIDTH: Final = 78


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a unit says beside the settings of the service.

    ``image`` is the ID of the loaded image (``sha256:`` and the digest of its configuration), for the form ``oci``
    alone. ``tini``: the image starts its program through an init of its own, as all do that are not made from a base
    image of the user's.
    """

    name: str
    synopsis: str = "Python application"
    documentation: str = ""  # a URI; "" where there is none
    image: str = ""
    tini: bool = True

    @classmethod
    def of(cls, project: Project, *, image: str = "") -> Facts:
        """The facts of *project*."""
        return cls(
            name=project.name,
            synopsis=synopsis(project.name, project.summary),
            documentation=homepage(project),
            image=image,
            tini=not project.settings.image.base,
        )


def synopsis(name: str, summary: str) -> str:
    """One line below 80 columns: no sentence, and no article or name of the package before it."""
    text = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", summary).split()).rstrip(". ")
    text = re.sub(rf"(?i)^({re.escape(name)}\s*(:|-|is)\s+)?((a|an|the)\s+)?", "", text)
    return textwrap.shorten(text, _WIDTH, placeholder="…") or "Python application"


def homepage(project: Project) -> str:
    """The project's page on the web, or ``""``."""
    pages = {label.lower(): url for label, url in project.urls if re.fullmatch(r"https?://[!-~]+", url)}
    wanted = ("homepage", "home", "documentation", "source", "repository")
    return next((pages[label] for label in wanted if label in pages), next(iter(pages.values()), ""))


def common(settings: Service, facts: Facts) -> dict[str, str]:
    """The values that most templates ask for."""
    name = facts.name
    loaded = (f"LoadCredential={one}:/etc/{name}/credentials/{one}" for one in settings.credentials)
    return {
        "name": name,
        "user": settings.user or name,
        "synopsis": facts.synopsis.replace("%", "%%"),
        "documentation": f"Documentation={facts.documentation.replace('%', '%%')}" if facts.documentation else "",
        # systemd.exec(5): a percent sign begins a specifier. Quotes and backslashes are refused before.
        "environment": "\n".join(
            f'Environment="{key}={value.replace("%", "%%")}"' for key, value in sorted(settings.environment.items())
        ),
        "credentials": "\n".join(loaded),
        "confined": confined(),
    }


def confined() -> str:
    """The lines that confine a service: what it may not do, see, or ask the kernel for."""
    return share.path("recipes", "systemd", "confined").read_text(encoding="utf-8").rstrip("\n")
