"""The recipe "kubernetes": documents that the real schemas accept, and a script that goes back when it must."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from buildonce.errors import ReleaseError
from buildonce.recipes import kubernetes
from tests.recipes.subjects import EVERYTHING, PLAIN, subject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buildonce.recipes.subject import Subject


def documents(one: Subject) -> dict[str, dict[str, Any]]:
    """Every document for the cluster, by its path."""
    texts = {path: text for path, text in kubernetes.render(one).items() if path.endswith(".yaml")}
    return {path: yaml.safe_load(text) for path, text in texts.items()}


@pytest.mark.parametrize("settings", [PLAIN, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_every_document_is_valid(tmp_path: Path, settings: Mapping[str, Any], version: str) -> None:
    kinds = []
    for path, document in documents(subject(tmp_path, settings)).items():
        if path.endswith("kustomization.yaml"):
            assert document["kind"] == "Kustomization"
            continue
        kubernetes_validate.validate(document, version, strict=True)
        kinds.append(document["kind"])
    jobs = ["Job"] if settings.get("migrate") else []
    expected = ["Deployment", *jobs, "Namespace", "Namespace", "PodDisruptionBudget", "Service", "ServiceAccount"]
    assert sorted(kinds) == sorted(expected)


def test_the_schemas_find_mistakes(tmp_path: Path) -> None:
    deployment = documents(subject(tmp_path))["base/deployment.yaml"]
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)


def test_what_a_pod_may_do_and_how_it_is_replaced(tmp_path: Path) -> None:
    found = documents(subject(tmp_path, EVERYTHING))
    spec = found["base/deployment.yaml"]["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert spec["progressDeadlineSeconds"] < 600
    pods = [spec["template"]["spec"], found["base/migration.yaml"]["spec"]["template"]["spec"]]
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"] == {"memory": "512Mi", "cpu": "1500m"}
        assert {"name": "credentials", "mountPath": "/run/credentials/orders", "readOnly": True} in container[
            "volumeMounts"
        ]
    container = pods[0]["containers"][0]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} < container.keys()
    assert container["readinessProbe"]["httpGet"] == {"path": "/health?full=1", "port": "http"}
    pause = int(re.findall(r"sleep\((\d+)\)", container["lifecycle"]["preStop"]["exec"]["command"][-1])[0])
    assert pods[0]["terminationGracePeriodSeconds"] > pause + 30  # what a service may take to end under systemd


def test_the_image_is_named_by_its_digest_alone(tmp_path: Path) -> None:
    one = subject(tmp_path)
    found = documents(one)
    assert found["base/kustomization.yaml"]["images"] == [
        {"name": "orders", "newName": "registry.example.org/team/orders", "digest": one.image().digest}
    ]
    assert found["base/deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]["image"] == "orders"
    assert found["base/kustomization.yaml"]["configMapGenerator"] == [{"name": "orders-env", "literals": []}]


def test_the_migration_is_a_job_of_the_version(tmp_path: Path) -> None:
    job = documents(subject(tmp_path, EVERYTHING))["base/migration.yaml"]
    assert job["metadata"]["name"] == "orders-migrate-1-4-0-b"
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == [
        "/opt/venvs/orders/bin/orders-admin",
        "migrate",
        "--all",
    ]


def test_overlays_hold_values_only(tmp_path: Path) -> None:
    found = documents(subject(tmp_path))
    overlays = [found[f"overlays/{name}/kustomization.yaml"] for name in ("staging", "production")]
    assert [set(one) for one in overlays] == [
        {"apiVersion", "kind", "namespace", "resources", "replicas", "configMapGenerator"}
    ] * 2
    assert "staging" not in json.dumps({path: one for path, one in found.items() if path.startswith("base/")})


def test_nodes_have_to_get_it_from_somewhere(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="registry"):
        kubernetes.render(subject(tmp_path, publish={}))
    with pytest.raises(ReleaseError, match="begin with a letter"):
        kubernetes.render(subject(tmp_path, name="4ever"))


# Answers as the API would: what is asked for is in "said", one answer after the other, the last for ever. What is not
# there succeeds without a word.
KUBECTL = """\
#!{python} -IS
import json, pathlib, sys
place = pathlib.Path({place!r})
state = json.loads((place / "state.json").read_text())
line = " ".join(word for word in sys.argv[1:])
state["calls"].append(line)
out, code = "", 0
for words, answers in state["said"].items():
    if words in line:
        out, code = answers.pop(0) if len(answers) > 1 else answers[0]
        break
(place / "state.json").write_text(json.dumps(state))
print(out)
sys.exit(code)
"""
COMPLETE, FAILED, NOTHING = ["Complete ", 0], ["Failed ", 0], ["", 0]
REVISION, STATUS, UNDO, JOB = r"deployment\.kubernetes\.io", "rollout status", "rollout undo", "get job"
APPLY = "component=application"


class Cluster:
    """A kubectl that plays a scenario, and notes what it was asked."""

    def __init__(self, folder: Path, one: Subject) -> None:
        self.folder = folder
        for path, text in kubernetes.render(one).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        (folder / "bin").mkdir()
        program = folder / "bin/kubectl"
        program.write_text(KUBECTL.format(python=sys.executable, place=str(folder)))
        program.chmod(0o755)
        self.calls: list[str] = []

    def deploy(self, said: Mapping[str, list[list[Any]]], *acceptance: str) -> int:
        """The exit code of deploy.sh when kubectl answers *said*."""
        state = self.folder / "state.json"
        state.write_text(json.dumps({"calls": [], "said": dict(said)}))
        done = subprocess.run(
            ["sh", "deploy.sh", "overlays/staging", *acceptance],
            cwd=self.folder,
            env={"PATH": f"{self.folder}/bin:/usr/bin:/bin", "TIMEOUT": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        self.calls = json.loads(state.read_text())["calls"]
        self.told = done.stderr
        return done.returncode

    def asked(self, words: str) -> list[int]:
        """When it was asked something with these words."""
        return [number for number, call in enumerate(self.calls) if words in call]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    (tmp_path / "release").mkdir()
    (tmp_path / "recipe").mkdir()
    return Cluster(tmp_path / "recipe", subject(tmp_path / "release", EVERYTHING))


class TestDeploying:
    def test_what_was_said_is_shell(self, cluster: Cluster) -> None:
        subprocess.run(["shellcheck", cluster.folder / "deploy.sh"], check=True)

    def test_everything_comes_in_its_order(self, cluster: Cluster) -> None:
        assert cluster.deploy({JOB: [NOTHING, NOTHING, COMPLETE], REVISION: [["3", 0]]}, "true") == 0
        order = ["notin (application,migration)", "component=migration", APPLY, STATUS]
        places = [cluster.asked(words) for words in order]
        assert [len(one) for one in places] == [1, 1, 1, 1]
        assert places == sorted(places)
        assert cluster.asked(UNDO) == []
        assert all("--namespace orders-staging" in call for call in cluster.calls)

    def test_a_migration_that_was_done_is_not_done_again(self, cluster: Cluster) -> None:
        assert cluster.deploy({JOB: [COMPLETE], REVISION: [["3", 0]]}) == 0
        assert cluster.asked("component=migration") == []

    def test_one_that_failed_before_is_tried_again(self, cluster: Cluster) -> None:
        assert cluster.deploy({JOB: [FAILED, NOTHING, COMPLETE], REVISION: [["3", 0]]}) == 0
        assert cluster.asked("delete job orders-migrate-1-4-0-b") < cluster.asked("component=migration")

    @pytest.mark.parametrize("answer", [FAILED, NOTHING])
    def test_after_a_migration_that_failed_or_hangs_nothing_is_replaced(
        self, cluster: Cluster, answer: list[Any]
    ) -> None:
        assert cluster.deploy({JOB: [NOTHING, answer]}) == 1
        assert cluster.asked(APPLY) == []
        assert "what ran before still runs" in cluster.told

    def test_what_does_not_get_well_is_undone(self, cluster: Cluster) -> None:
        said = {JOB: [COMPLETE], REVISION: [["3", 0], ["4", 0]], STATUS: [["", 1], ["", 0]]}
        assert cluster.deploy(said) == 1
        assert cluster.asked("rollout undo deployment/orders --to-revision=3")
        assert len(cluster.asked(STATUS)) == 2
        assert "the version before runs again" in cluster.told

    def test_what_users_would_not_accept_is_undone(self, cluster: Cluster) -> None:
        said = {JOB: [COMPLETE], REVISION: [["3", 0], ["4", 0]]}
        assert cluster.deploy(said, "sh", "-c", "exit 9") == 1
        assert cluster.asked("rollout undo deployment/orders --to-revision=3")

    def test_a_first_version_that_does_not_get_well_is_stopped(self, cluster: Cluster) -> None:
        assert cluster.deploy({JOB: [COMPLETE], REVISION: [["", 0], ["1", 0]], STATUS: [["", 1]]}) == 1
        assert cluster.asked("scale deployment/orders --replicas=0")
        assert cluster.asked(UNDO) == []

    def test_the_same_version_has_nothing_to_go_back_to(self, cluster: Cluster) -> None:
        assert cluster.deploy({JOB: [COMPLETE], REVISION: [["3", 0]]}, "false") == 1
        assert cluster.asked(UNDO) == []

    @pytest.mark.parametrize("wrong", [{UNDO: [["", 1]]}, {STATUS: [["", 1]]}])
    def test_when_nobody_knows_what_runs(self, cluster: Cluster, wrong: dict[str, list[list[Any]]]) -> None:
        said = {JOB: [COMPLETE], REVISION: [["3", 0], ["4", 0]], STATUS: [["", 1], ["", 0]], **wrong}
        assert cluster.deploy(said) == 7

    def test_a_cluster_that_does_not_answer(self, cluster: Cluster) -> None:
        assert cluster.deploy({"apply": [["", 1]]}) == 1
        assert len(cluster.calls) == 1


def test_one_that_needs_no_migration_has_none(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    plain = Cluster(tmp_path / "recipe", subject(tmp_path, PLAIN))
    assert plain.deploy({REVISION: [["3", 0]]}) == 0
    assert plain.asked("job") == []
