"""Users notice nothing: hosts are upgraded, to a bad version too, and brought back, while all the time some ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration import fleet as fleets
from tests.integration import load
from tests.integration.deploying import Deployer, environment, sound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.beats import Beats
    from tests.integration.fleet import Fleet
    from tests.integration.load import Count

HAPROXY = {"haproxy": "lb", "backend": "beat"}


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with fleets.running(3) as found:
        yield found


@pytest.fixture(scope="module")
def ana(beats: Beats, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Deployer:
    """Has 1.0.0 on every host."""
    folder = tmp_path_factory.mktemp("ana")
    more = environment("production", fleet.inventory, batches=[1, "100%"], balancer=HAPROXY)
    made = Deployer(beats.site(folder, more, "1.0.0", "1.1.0", "1.2.0"), folder / "state")
    assert made.report("deploy", "production", "1.0.0").verdict == "succeeded"
    sound(fleet, "1.0.0")
    return made


@dataclass(frozen=True)
class Case:
    """What is done, in this order, and who may answer meanwhile."""

    what: str
    words: tuple[str, ...]
    code: int
    verdict: str
    answers: frozenset[str]
    after: str


CASES = (
    Case(
        "rolling upgrade of 3 hosts",
        ("deploy", "production", "1.1.0"),
        0,
        "succeeded",
        frozenset({"1.0.0", "1.1.0"}),
        "1.1.0",
    ),
    Case(
        "rolling upgrade of 3 hosts to a bad version",
        ("deploy", "production", "1.2.0"),
        1,
        "rolled_back",
        frozenset({"1.1.0"}),
        "1.1.0",
    ),
    Case(
        "roll back of 3 hosts",
        ("rollback", "production"),
        0,
        "succeeded",
        frozenset({"1.0.0", "1.1.0"}),
        "1.0.0",
    ),
)


@pytest.mark.timeout(1800)  # three deployments, on a machine that others use as well
def test_nobody_notices(ana: Deployer, fleet: Fleet, users: Callable[[str, Count], None]) -> None:
    for case in CASES:
        with load.running(fleet) as asking:
            asking.goes_on()
            assert ana.report(*case.words, code=case.code).verdict == case.verdict
            asking.goes_on()
        sound(fleet, case.after)
        seen = asking.count()
        print(f"{case.what}: {seen}, {dict(seen.versions)}")
        assert (seen.failed, seen.failures) == (0, []), case.what
        assert seen.versions.keys() == case.answers, case.what
        users(case.what, seen)
