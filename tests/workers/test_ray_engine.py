"""Ray starts the workers: how a cluster is shared out, and nodes that die under a sweep."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import mlflow
import psutil
import pytest
from optuna.trial import TrialState

from bench import sweep
from bench.core.errors import TemporaryError, UserError
from bench.data.utterance import Corpus
from bench.queue.slots import SlotQueue
from bench.queue.storage import QueueStorage
from bench.runs import TrackingTarget
from bench.runs.state import has_ended
from bench.study.definition import StudyDefinition
from bench.study.definition import load as load_definition
from bench.workers.ray_cluster import Node, Share, check_reach, nodes_of, share_cluster
from bench.workers.ray_engine import RayEngine, _Task, passed_on, work_on_node
from bench.workers.worker import Assignment
from tests.tones import write_table

ONE, TWO = "one 192.0.2.1", "two 192.0.2.2"
VARIANTS = ("ds-rnn", "ds-gru", "ds-lstm")
NUM_SLOTS = 2 * len(VARIANTS)
"""Of the search, and as many confirm runs."""


def engine_of(*arguments: str) -> object:
    options = sweep.build_parser().parse_args(["--variant", "ds-gru", *arguments])
    return sweep.make_engine(options, "cpu")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--address", "auto"], "got 'auto' without --engine ray"),
        (["--engine", "ray", "--gpus", "0,1"], "Ray assigns those of its nodes, got 0,1"),
        (["--engine", "ray", "--address", "ray://127.0.0.1:10001"], "HOST:PORT or auto, got 'ray://"),
        (["--engine", "ray", "--address", "10001"], "HOST:PORT or auto, got '10001'"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1 can be used"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        engine_of(*arguments)


def test_without_the_package_ray_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "restored at the end")
    with pytest.raises(UserError, match=r"needs the package ray.*deepspeech-bench\[ray\]"):
        engine_of("--engine", "ray")


def test_nodes_of_a_cluster() -> None:
    living = {
        "Alive": True,
        "NodeManagerHostname": "one",
        "NodeManagerAddress": "192.0.2.1",
        "Resources": {"CPU": 4.0, "GPU": 2.0, "memory": 1e9},
    }
    head = {**living, "Resources": {"memory": 1e9}}
    assert nodes_of([living, head, {**living, "Alive": False}]) == [Node(ONE, 4, 2), Node(ONE, 0, 0)]  # fmt: skip


@pytest.mark.parametrize(
    "cpus, num_workers, share",
    [
        ([1, 1, 1], None, Share(3, 1, 0.0)),
        ([0, 8, 4], None, Share(12, 1, 0.0)),
        ([8, 4], 3, Share(3, 4, 0.0)),
        ([8, 4], 2, Share(2, 4, 0.0)),
        ([8, 4], 1, Share(1, 8, 0.0)),
        ([2], 5, Share(5, 1, 0.0)),
    ],
)
def test_cpus_are_shared_out(cpus: list[int], num_workers: int | None, share: Share) -> None:
    nodes = [Node(ONE, count, 0) for count in cpus]
    assert share_cluster(nodes, num_workers, "cpu", per_gpu=1) == share


@pytest.mark.parametrize(
    "nodes, num_workers, per_gpu, share",
    [
        ([Node(ONE, 16, 2), Node(TWO, 64, 0)], None, 1, Share(2, 8, 1.0)),
        ([Node(ONE, 16, 2), Node(TWO, 4, 1)], None, 2, Share(6, 2, 0.5)),
        ([Node(ONE, 3, 4)], None, 1, Share(3, 1, 1.0)),
        ([Node(ONE, 16, 2)], 1, 1, Share(1, 8, 1.0)),
    ],
)
def test_gpus_are_shared_out(
    nodes: list[Node], num_workers: int | None, per_gpu: int, share: Share
) -> None:
    assert share_cluster(nodes, num_workers, "cuda", per_gpu=per_gpu) == share


@pytest.mark.parametrize(
    "nodes, num_workers, device, per_gpu, message",
    [
        (
            [Node(ONE, 4, 0)],
            None,
            "cpu",
            2,
            "share each GPU, got 2 with --device cpu; leave it out",
        ),
        ([Node(ONE, 0, 0)], None, "cpu", 1, "lends no CPU, got 1 nodes"),
        ([Node(ONE, 4, 0), Node(TWO, 0, 2)], None, "cuda", 1, "lends no node with CPUs and GPUs"),
    ],
)
def test_what_cannot_be_shared_out(
    nodes: list[Node], num_workers: int | None, device: str, per_gpu: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        share_cluster(nodes, num_workers, device, per_gpu=per_gpu)


@pytest.mark.parametrize("url", [None, "sqlite:///queue.db"])
def test_a_queue_in_a_file_is_refused_on_several_machines(url: str | None) -> None:
    check_reach([Node(ONE, 1, 0), Node(ONE, 1, 0)], url)
    check_reach([Node(ONE, 1, 0), Node(TWO, 1, 0)], "postgresql://db/queue")
    with pytest.raises(UserError, match=r"2 machines \(one 192.0.2.1, two 192.0.2.2\); name --stor"):  # fmt: skip
        check_reach([Node(ONE, 1, 0), Node(TWO, 1, 0)], url)


def test_workers_get_what_the_launcher_was_told_by_the_environment() -> None:
    told = dict.fromkeys(("BENCH_CACHE", "MLFLOW_TRACKING_URI", "PGPASSWORD", "OMP_WAIT_POLICY", "AWS_PROFILE"), "x")  # fmt: skip
    assert passed_on({**told, "CUDA_VISIBLE_DEVICES": "3", "HOME": "/root"}) == told


@pytest.fixture
def assignment() -> Assignment:
    return Assignment(
        folder=Path("out/study"),
        system="ds-gru",
        kind="trial",
        slot=None,
        storage_url="postgresql://bench:secret@db/queue",
        num_workers=1,
        num_threads=1,
        grace_seconds=60.0,
        target=TrackingTarget(uri="sqlite:///mlflow.db"),
    )


def test_a_node_that_does_not_see_the_working_folder_says_so(
    tmp_path: Path, assignment: Assignment
) -> None:
    with pytest.raises(UserError, match="must see the working folder of the launcher"):
        next(work_on_node(assignment, tmp_path, {}))
    assert "secret" not in repr(assignment), "Ray shows arguments in its logs"


@pytest.mark.parametrize("stop", [TemporaryError("stopped by SIGTERM"), KeyboardInterrupt()])
def test_a_signal_in_mid_call_stops_the_sweep_and_is_no_bug(stop: BaseException) -> None:
    """Ray's calls are compiled: what the handler raises in one comes out behind a SystemError."""

    def wait(*_: object, **__: object) -> None:
        try:
            raise stop
        except BaseException as error:
            raise SystemError("returned a result with an exception set") from error

    living = {"Alive": True, "NodeManagerHostname": "one", "NodeManagerAddress": "192.0.2.1", "Resources": {"CPU": 1.0}}  # fmt: skip
    ray = SimpleNamespace(nodes=lambda: [living], remote=lambda **_: lambda work: work, wait=wait)
    with contextlib.ExitStack() as held:
        engine = RayEngine(ray, num_workers=1, device="cpu", per_gpu=1, storage_url=None, held=held)  # type: ignore[arg-type]
    task = _Task(ray, "what it says")  # type: ignore[arg-type]
    for call in (lambda: engine.wait([task], 0.1), task.messages):
        with pytest.raises(type(stop)) as caught:
            call()
        assert caught.value is stop


needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")


NODES = """
import json, sys
from ray.cluster_utils import Cluster
cluster, raylets = Cluster(), []
for _ in range(3):
    node = cluster.add_node(num_cpus=1, object_store_memory=80_000_000, include_dashboard=False)
    raylets.append(node.all_processes["raylet"][0].process.pid)
print(json.dumps([cluster.address, raylets]), flush=True)
sys.stdin.read()
"""


class RayCluster:
    """Three nodes of one CPU each, all on 127.0.0.1."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NODES], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )  # fmt: skip
        assert self._process.stdout is not None
        self.address, self.raylets = json.loads(self._process.stdout.readline())

    def kill(self, raylet: int, *, spare_trials: bool) -> None:
        """The power of a node fails; or only Ray's own processes are gone."""
        for process in family(raylet):
            with contextlib.suppress(psutil.NoSuchProcess):
                if not (spare_trials and "multiprocessing" in " ".join(process.cmdline())):
                    process.kill()

    def end(self) -> None:
        self._process.communicate("", timeout=60)


def family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def wait_until(holds: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Nothing leaves 127.0.0.1, nobody else may use the cluster, and its files end with the test."""
    sessions = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets need short names
    yield {
        **os.environ,
        "HOME": str(tmp_path),
        "RAY_TMPDIR": sessions,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": uuid.uuid4().hex,
    }
    shutil.rmtree(sessions, ignore_errors=True)


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[RayCluster]:
    cluster = RayCluster(environment)
    yield cluster
    cluster.end()


@pytest.fixture
def corpus(tmp_path: Path, tone_corpus: Corpus) -> str:
    return write_table(tone_corpus, tmp_path / "tones.jsonl")


Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin(tmp_path: Path, environment: dict[str, str], corpus: str) -> Iterator[Begin]:
    """Starts the sweep; none of its processes outlives the test."""
    begun: list[subprocess.Popen[str]] = []
    compared = [argument for variant in VARIANTS for argument in ("--variant", variant)]

    def start(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.sweep", *compared, "--corpus", corpus, "--budget", "smoke",
             "--set", "model.width=128", "--json", "--engine", "ray", *arguments],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        begun.append(process)
        return process

    yield start
    for process in begun:
        for relative in family(process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                relative.kill()
        process.communicate()


def node_in_mid_trial(cluster: RayCluster, folder: Path) -> tuple[int, Path] | None:
    """The raylet of a node, not the head, whose trial has been evaluated at least once; and the trial."""
    for path in folder.glob("out/*/runs/*/trial-*/lease.json"):
        with contextlib.suppress(OSError, ValueError):
            pid = json.loads(path.read_text())["pid"]
            for raylet in cluster.raylets[1:]:
                if (path.parent / "watch.jsonl").exists() and pid in [
                    p.pid for p in family(raylet)
                ]:
                    return raylet, path.parent
    return None


def check_invariants(folder: Path, *, attempts: int) -> None:
    """Planned is what is done, once each, and nothing is left running."""
    (study,) = (path.parent for path in folder.glob("out/*/study.json"))
    definition: StudyDefinition = load_definition(study)
    storage = QueueStorage(None, study, num_workers=1)
    runs = sorted(study.glob("runs/*/*"))
    for system in definition.systems:
        slots = SlotQueue(definition, system, study, storage).slots()
        assert len(slots) == 2
        assert {slot.state for slot in slots} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(runs) == 2 * NUM_SLOTS
    tried = 0
    for run in runs:
        assert has_ended(run), run
        assert not (run / "lease.json").exists()
        tried += json.loads((run / "run.json").read_text())["attempt"]
        points = [(row["key"], row["step"]) for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())]  # fmt: skip
        assert len(points) == len(set(points)), f"{run}: each step is logged once"
    assert tried == 2 * NUM_SLOTS + attempts
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    tracked = client.search_runs([client.get_experiment_by_name(study.name).experiment_id])
    slots = [(r.data.tags["system"], r.data.tags["kind"], r.data.tags["slot"]) for r in tracked if "slot" in r.data.tags]  # fmt: skip
    assert len(slots) == len(set(slots)) == 2 * NUM_SLOTS
    assert {run.info.status for run in tracked} == {"FINISHED"}


def at_work_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder) and process.pid != os.getpid():
                found.append(process)
    return found


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("spare_trials", [False, True], ids=["power", "raylet"])
def test_a_node_killed_in_mid_trial(
    tmp_path: Path, cluster: RayCluster, begin: Begin, spare_trials: bool
) -> None:
    process = begin("--address", cluster.address)
    found: list[tuple[int, Path]] = []

    def in_mid_trial() -> bool:
        assert process.poll() is None, process.communicate()
        found.extend(filter(None, [node_in_mid_trial(cluster, tmp_path)]))
        return bool(found)

    wait_until(in_mid_trial, 600)
    (raylet, trial), *_ = found
    lease = (trial / "lease.json").read_text()
    cluster.kill(raylet, spare_trials=spare_trials)
    wait_until(lambda: read(trial / "lease.json") != lease, 60)
    assert not has_ended(trial)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert "a worker is lost with its node" in err
    assert [row["num_trials"] for row in json.loads(out)["systems"]] == [2, 2, 2]
    # One that could still stop at a checkpoint has not used up an attempt.
    assert json.loads((trial / "run.json").read_text())["attempt"] == (1 if spare_trials else 2)
    check_invariants(tmp_path, attempts=0 if spare_trials else 1)
    wait_until(lambda: not at_work_in(tmp_path), 30)


@needs_ray
@pytest.mark.slow
def test_a_cluster_of_its_own_stopped_and_started_again(tmp_path: Path, begin: Begin) -> None:
    process = begin()
    wait_until(lambda: list(tmp_path.glob("out/*/runs/*/trial-*/watch.jsonl")), 600)
    assert list(tmp_path.glob("out/*/runs/*/trial-*/lease.json"))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=180)
    assert (process.returncode, out) == (75, ""), err
    assert not list(tmp_path.glob("out/*/runs/*/*/lease.json")), "each gave its slot back"
    wait_until(lambda: not at_work_in(tmp_path), 30)

    out, err = (process := begin()).communicate(timeout=900)
    assert process.returncode == 0, err
    assert [row["num_trials"] for row in json.loads(out)["systems"]] == [2, 2, 2]
    check_invariants(tmp_path, attempts=0)
    wait_until(lambda: not at_work_in(tmp_path), 30)
