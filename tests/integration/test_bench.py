"""The bench runs, and its result has the shape that readers rely on. Never how long anything took."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.pages import ROOT

STEPS = ["build", "wheelhouse", "pex", "deb"]
WHAT = ["cold build", "one line changed", "… against what cannot be left out", "nothing changed", "release verify"]


def test_the_quick_bench_measures_everything() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/run.py"), "--quick", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["application"], list(result["by_hand"])) == ("hello", STEPS)
    assert [row["what"] for row in result["rows"]] == [*WHAT, "release --help", "peak memory"]
    assert all(seconds > 0 for seconds in result["by_hand"].values())
    for row in result["rows"]:
        assert row["ours"] > 0
        assert row["met"] is None, "a budget is judged on the application that it was made for"
        if row["by_hand"] is not None:
            assert row["ratio"] == pytest.approx(row["by_hand"] / row["ours"])
    assert result["skipped"] == ["docker build: left out by --quick"]
