"""Files for many machines: what they ask of Slurm, Kubernetes and Compose, and that the sweep gets
its arguments and its signals unchanged."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import deploy

STORAGE = ["--storage", "postgresql://me@db/bench"]
SWEEP = ["--variant", "ds-gru", *STORAGE]
SERVER = ["--tracking-uri", "http://tracking:5000"]
HOSTILE = [
    "plain name", "it's \"quoted\"", "$HOME $(id) `id` ${PATH} $$ $$$(PGPASSWORD)", "a\n#SBATCH --wrap=id\nb",
    "{{ image }} {% x %} {# y #}", ": - & * ! | > ' % @ ]}", "--", "", "back\\slash\\n", "tab\tbell\x07del\x7fnel\x85",
    "umlaut ü, line\u2028separator, \U0001f642", "#comment", "trailing ",
]  # fmt: skip
NAMED = ["--variant", "ds-gru", *(f"--corpus=manifest:{name}" for name in HOSTILE), *STORAGE]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    return partial(run, "deploy")


@pytest.fixture
def render(run: Run) -> Callable[..., str]:
    """The file for these arguments."""

    def rendered(*arguments: str) -> str:
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        return out

    return rendered


Render = Callable[..., str]


# Slurm: the script is run by bash, with programs of ours in the place of python and scontrol.

PROGRAM = """#!/bin/bash
printf '%s\\0' "$@" > "$LOG/$(basename "$0")"
printf '%s' "$MLFLOW_TRACKING_URI" > "$LOG/tracking"
"""


class Batch:
    """A batch script with the programs that it finds, and what they were called with."""

    def __init__(self, folder: Path, script: str, sweep: str) -> None:
        self.folder = folder
        self.script = folder / "sweep.sh"
        self.script.write_text(script)
        programs = folder / "programs"
        programs.mkdir()
        for name, body in (("python", sweep), ("scontrol", ""), ("srun", "")):
            (programs / name).write_text(PROGRAM + body)
            (programs / name).chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}", "LOG": str(folder),
            "SLURM_JOB_ID": "900", "SLURM_ARRAY_JOB_ID": "900", "SLURM_ARRAY_TASK_ID": "3",
        }  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["bash", self.script], env=self.environment)

    def arguments(self, program: str) -> list[str] | None:
        log = self.folder / program
        return log.read_text().split("\0")[:-1] if log.exists() else None

    def wait_for(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, f"{name} never came"
            time.sleep(0.01)


@pytest.fixture
def batch(tmp_path: Path, render: Render) -> Callable[..., Batch]:
    def made(sweep: str, arguments: list[str] = SWEEP) -> Batch:
        return Batch(tmp_path, render("slurm", *SERVER, "--", *arguments), sweep)

    return made


REQUEUED = ["requeue", "incomplete", "900_3"]


@pytest.mark.parametrize(
    ("code", "requeued"), [(0, None), (1, None), (2, None), (75, REQUEUED), (130, None), (143, REQUEUED)]
)  # fmt: skip
def test_slurm_queues_a_sweep_again_that_wants_to_go_on(
    batch: Callable[..., Batch], code: int, requeued: list[str] | None
) -> None:
    job = batch(f"exit {code}")
    assert job.start().wait(60) == code
    assert job.arguments("scontrol") == requeued
    assert job.arguments("python") == ["-m", "bench.sweep", *SWEEP]
    assert (job.folder / "tracking").read_text() == "http://tracking:5000"
    assert job.arguments("srun") is None, "it answers SIGTERM by SIGKILL to its step"


def test_slurm_hands_the_signal_on_and_waits(batch: Callable[..., Batch]) -> None:
    job = batch(
        "trap 'touch $LOG/stopping; sleep 0.5; touch $LOG/stopped; exit 75' TERM\n"
        "touch $LOG/started; while :; do sleep 0.02; done"
    )
    with job.start() as process:
        job.wait_for("started")
        process.send_signal(signal.SIGTERM)
        job.wait_for("stopping")
        assert job.arguments("scontrol") is None, "not before the sweep has ended"
        process.send_signal(signal.SIGTERM)  # as scancel does after a time limit's warning
        assert process.wait(60) == 75
    assert (job.folder / "stopped").exists()
    assert job.arguments("scontrol") == REQUEUED


def test_slurm_waits_for_a_sweep_that_ends_well_in_spite_of_the_signal(
    batch: Callable[..., Batch],
) -> None:
    job = batch("trap 'sleep 0.2; exit 0' TERM; touch $LOG/started; while :; do sleep 0.02; done")
    with job.start() as process:
        job.wait_for("started")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert job.arguments("scontrol") is None


def test_slurm_starts_a_sweep_again_that_could_not_listen_yet(batch: Callable[..., Batch]) -> None:
    job = batch("touch $LOG/started; exec sleep 60")
    with job.start() as process:
        job.wait_for("started")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    assert job.arguments("scontrol") == REQUEUED


def test_slurm_passes_hostile_arguments_unchanged(batch: Callable[..., Batch]) -> None:
    job = batch("exit 0", NAMED)
    subprocess.run(["bash", "-n", job.script], check=True)
    assert job.start().wait(60) == 0
    assert job.arguments("python") == ["-m", "bench.sweep", *NAMED]


def test_slurm_asks_for_what_was_said(render: Render) -> None:
    options = ["--count", "8", "--cpus", "6", "--gpus", "1", "--hours", "12", "--notice", "300"]
    text = render("slurm", *options, *SERVER, "--", *NAMED)
    head = text[: text.index("\n\n")].splitlines()
    asked = [line.removeprefix("#SBATCH ") for line in head if line.startswith("#SBATCH")]
    assert set(asked) >= {
        "--array=0-7", "--nodes=1", "--ntasks=1", "--cpus-per-task=6", "--mem=12G", "--gpus-per-task=1",
        "--time=12:00:00", "--signal=B:TERM@300", "--requeue", "--open-mode=append",
    }  # fmt: skip
    assert head[0] == "#!/bin/bash"
    assert "gpus" not in render("slurm", *SERVER, "--", *SWEEP)
    assert "--mem=3G" in render("slurm", "--memory", "3", *SERVER, "--", *SWEEP)


def test_slurm_on_one_machine_needs_no_database(render: Render) -> None:
    text = render("slurm", "--count", "1", "--", "--variant", "ds-gru")
    assert "--array=0-0" in text
    assert "MLFLOW_TRACKING_URI" not in text


# Kubernetes and Compose: the file is parsed, its arguments expanded as they would be.


def expanded(text: str, variable: str) -> str:
    """`text` as it comes out where $$ is $, and `variable` (a pattern) would be expanded."""
    return re.sub(rf"\$\$|{variable}", lambda found: "$" if found[0] == "$$" else "EXPANDED", text)


def job(text: str) -> dict[str, Any]:
    *_, found = yaml.safe_load_all(text)
    return found


def test_kubernetes_job(render: Render) -> None:
    text = render(
        "kubernetes", "--count", "8", "--gpus", "2", *SERVER, "--", *SWEEP, "--gpus", "0,1"
    )
    claim, found = yaml.safe_load_all(text)
    spec = found["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 8, 8)
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never", "podFailurePolicy wants it"
    assert pod["terminationGracePeriodSeconds"] == 120
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    limits = {"cpu": 4, "memory": "8Gi", "nvidia.com/gpu": 2}
    assert container["resources"] == {"requests": limits, "limits": limits}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["workingDir"] == "/work"
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert mounts == {"work": "/work", "shm": "/dev/shm"}
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    assert volumes["work"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["kind"] == "PersistentVolumeClaim"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    environment = {e["name"]: e.get("value") or e["valueFrom"] for e in container["env"]}
    assert environment["MLFLOW_TRACKING_URI"] == "http://tracking:5000"
    assert set(environment["PGPASSWORD"]) == {"secretKeyRef"}
    assert environment["BENCH_CACHE"].startswith("/work/")


def test_kubernetes_counts_crashes_alone_as_failures(render: Render) -> None:
    spec = job(render("kubernetes", *SERVER, "--", *SWEEP))["spec"]
    disrupted, again, mistaken = spec["podFailurePolicy"]["rules"]
    assert disrupted == {
        "action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }  # fmt: skip
    name = spec["template"]["spec"]["containers"][0]["name"]
    assert again["action"] == "Ignore"
    assert again["onExitCodes"] == {"containerName": name, "operator": "In", "values": [75, 143]}
    assert mistaken["action"] == "FailJob"
    assert mistaken["onExitCodes"]["values"] == [2]
    assert spec["backoffLimitPerIndex"] == 3


def test_kubernetes_takes_a_claim_that_exists(render: Render) -> None:
    for name in ("data", "true", "null", "1e3", "0x10", "12", "off"):
        (found,) = yaml.safe_load_all(render("kubernetes", "--claim", name, *SERVER, "--", *SWEEP))
        volumes = {v["name"]: v for v in found["spec"]["template"]["spec"]["volumes"]}
        assert volumes["work"]["persistentVolumeClaim"]["claimName"] == name


def test_kubernetes_jobs_of_different_sweeps_have_different_names(render: Render) -> None:
    texts = [
        render("kubernetes", *SERVER, "--", *SWEEP, *more) for more in ([], ["--seed", "1"], [])
    ]
    one, other, again = (job(text)["metadata"]["name"] for text in texts)
    assert one == again != other
    assert re.fullmatch(r"[a-z0-9-]{1,63}", one)


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    if isinstance(given, dict):
        for key in given:
            yield from lost(given[key], (kept or {}).get(key), f"{path}.{key}")
    elif isinstance(given, list):
        for index, item in enumerate(given):
            there = kept[index] if index < len(kept or ()) else None
            yield from lost(item, there, f"{path}[{index}]")
    elif str(given) != str(kept):
        yield f"{path}: {given!r}, kept {kept!r}"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubernetes_knows_every_field(render: Render, tmp_path: Path) -> None:
    """kubectl reads the file into its own types, which drop what they do not know."""
    path = tmp_path / "job.yaml"
    path.write_text(render("kubernetes", "--gpus", "1", "--claim", "data", *SERVER, "--", *NAMED))
    command = ["kubectl", "set", "image", "--local", "-f", path, "sweep=deepspeech-bench:2", "-o", "json"]  # fmt: skip
    kept = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    image = ".spec.template.spec.containers[0].image"
    assert list(lost(job(path.read_text()), kept)) == [f"{image}: 'deepspeech-bench', kept 'deepspeech-bench:2'"]  # fmt: skip


def test_kubernetes_passes_hostile_arguments_unchanged(render: Render) -> None:
    found = job(render("kubernetes", *SERVER, "--", *NAMED))
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert "command" not in container, "the image's entry point stays: tini hands on signals"
    got = [expanded(argument, r"\$\(\w+\)") for argument in container["args"]]
    assert got == ["python", "-m", "bench.sweep", *NAMED]


def test_compose_passes_hostile_arguments_unchanged(render: Render) -> None:
    arguments = [argument for argument in NAMED if argument not in STORAGE]
    worker = yaml.safe_load(render("compose", "--", *arguments))["services"]["worker"]
    got = [expanded(argument, r"\$(\w+|\{[^}]*\})") for argument in worker["command"]]
    assert got == ["python", "-m", "bench.sweep", *arguments, "--storage", deploy.COMPOSE_STORAGE]


def test_compose_services(render: Render) -> None:
    options = ["--count", "3", "--cpus", "2", "--image", "registry.example:5000/me/bench:1"]
    found = yaml.safe_load(render("compose", *options, "--", "--variant", "ds-gru"))
    postgres, mlflow, worker = (found["services"][s] for s in ("postgres", "mlflow", "worker"))
    assert "ports" not in postgres
    assert postgres["networks"] == ["database"]
    assert found["networks"]["database"] == {"internal": True}
    assert "pg_isready" in postgres["healthcheck"]["test"]
    assert mlflow["ports"] == ["127.0.0.1:5000:5000"]
    assert {"--serve-artifacts", "--artifacts-destination=/artifacts"} <= set(mlflow["command"])
    assert "--backend-store-uri=postgresql+psycopg://bench@postgres/mlflow" in mlflow["command"]
    assert "--allowed-hosts=mlflow:5000,localhost:5000,127.0.0.1:5000" in mlflow["command"]
    assert found["configs"]["mlflow-database"]["content"] == "CREATE DATABASE mlflow;"
    assert worker["deploy"]["replicas"] == 3
    assert worker["deploy"]["resources"] == {"limits": {"cpus": "2", "memory": "4g"}}
    assert worker["restart"].startswith("on-failure")
    assert worker["stop_grace_period"] == "120s"
    assert worker["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert worker["image"] == mlflow["image"] == "registry.example:5000/me/bench:1"
    named = {v.split(":")[0] for s in (postgres, mlflow, worker) for v in s["volumes"]}
    assert named == {*found["volumes"], "./data"}
    secrets = [
        postgres["environment"]["POSTGRES_PASSWORD"],
        *(service["environment"]["PGPASSWORD"] for service in (mlflow, worker)),
    ]
    assert all(secret.startswith("${PGPASSWORD:?") for secret in secrets), "from .env, or an error"


def test_compose_gives_all_gpus_to_one_container(render: Render) -> None:
    arguments = ["--variant", "ds-gru", "--gpus", "0,1"]
    found = yaml.safe_load(render("compose", "--count", "1", "--gpus", "2", "--", *arguments))
    reserved = found["services"]["worker"]["deploy"]["resources"]["reservations"]
    assert reserved == {"devices": [{"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}]}


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slurm", *SERVER, "--", "--variant", "ds-gru"], "share a queue in PostgreSQL, got --storage (none)"),
        (["slurm", *SERVER, "--", "--variant", "ds-gru", "--storage", "sqlite:///q.db"], "got --storage sqlite:///q.db"),
        (["kubernetes", "--count", "1", *SERVER, "--", "--variant", "ds-gru"], "--storage postgresql://USER@HOST/DATABASE"),
        (["slurm", "--", *SWEEP], "share an MLflow server, got sqlite:///mlflow.db"),
        (["kubernetes", "--", *SWEEP], "--tracking-uri http://HOST:5000"),
        (["slurm", *SERVER, "--", "--variant", "ds-gru", "--storage", "postgresql://me:secret@db/x"], "must hold no password, got postgresql://me:***@db/x"),
        (["slurm", "--tracking-uri", "http://me:secret@ml", "--", *SWEEP], "must hold no password, got http://me:***@ml"),
        (["slurm", *SERVER, "--", "--variant", "ds-gruu", *STORAGE], "unknown variant 'ds-gruu'; did you mean ds-gru"),
        (["slurm", *SERVER, "--", *STORAGE], "a sweep needs --variant V or --study NAME"),
        (["slurm", *SERVER, "--", *SWEEP, "--name", "\udcff"], "an argument must be UTF-8"),
        (["slurm", *SERVER, "--", *SWEEP, "--name", "../x"], "the name of a study begins with a letter or digit"),
        (["slurm", *SERVER, "--", *SWEEP, "--workers", "0"], "--workers must be at least 1, got 0"),
        (["slurm", *SERVER, "--", *SWEEP, "--grace", "nan"], "--grace must be finite, got nan"),
        (["slurm", *SERVER, "--", *SWEEP, "--corpus", ""], "--corpus has an empty value"),
        (["kubernetes", "--claim", "a..b", *SERVER, "--", *SWEEP], "--claim must match"),
        (["kubernetes", "--claim", "a" * 254, *SERVER, "--", *SWEEP], "--claim must match"),
        (["compose", "--", *SWEEP], "brings a database of its own, got --storage postgresql://me@db/bench"),
        (["slurm", "--count", "0", *SERVER, "--", *SWEEP], "--count must be at least 1, got 0"),
        (["slurm", "--gpus", "-1", *SERVER, "--", *SWEEP], "--gpus must be at least 0, got -1"),
        (["slurm", "--hours", "1", "--notice", "3600", *SERVER, "--", *SWEEP], "--notice must be shorter than the --hours 1"),
        (["slurm", *SERVER, "--", *SWEEP, "--gpus", "0,1"], "its sweep uses, 2, got --gpus 0"),
        (["slurm", *SERVER, "--", *SWEEP, "--device", "cuda"], "its sweep uses, 1, got --gpus 0"),
        (["slurm", "--gpus", "1", *SERVER, "--", *SWEEP, "--device", "cpu"], "its sweep uses, 0, got --gpus 1"),
        (["compose", "--gpus", "1", "--", "--variant", "ds-gru"], "would get the same GPUs, got --count 4"),
        (["kubernetes", "--image", "x\nkind: Pod", *SERVER, "--", *SWEEP], "--image must match"),
        (["kubernetes", "--claim", "../x", *SERVER, "--", *SWEEP], "--claim must match"),
    ],
)  # fmt: skip
def test_refusals(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert message in err
    assert "secret" not in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, "one line"
    assert out == ""


def test_the_sweeps_own_parser_reads_its_arguments(run: Run) -> None:
    code, out, err = run("slurm", *SERVER, "--", *SWEEP, "--budgt", "smoke")
    assert (code, out) == (2, "")
    assert "python -m bench.sweep: error: unrecognized arguments: --budgt smoke" in err


def test_the_file_as_json(run: Run) -> None:
    plain = run("slurm", *SERVER, "--", *SWEEP)[1]
    code, out, _ = run("--json", "slurm", *SERVER, "--", *SWEEP)
    assert (code, json.loads(out)) == (0, {"kind": "slurm", "text": plain})
    assert shlex.join(SWEEP) in plain
