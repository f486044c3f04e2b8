"""Ray Core as what starts workers: on each node of its cluster, the processes that they are here.

Ray finds a node with room, no more: it retries nothing, since the queue does. A worker is a task
that starts the process on its node, passes on what it says, and ends with its exit code. If node or
task is lost, the process sees that nobody listens, stops at its next step and gives its slot back.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.core.cli import EXIT_BUG, EXIT_START_AGAIN
from bench.core.errors import UserError
from bench.study.definition import FILE as DEFINITION
from bench.study.engine import LocalEngine, Message, Worker
from bench.study.worker import Assignment

# Ray's least is 75 MiB; what workers say takes less than a page.
OBJECT_STORE_BYTES = 80 * 2**20
NODE_POLL_SECONDS = 0.5
# Less than the launcher waits: a process that hangs is killed on its node.
STOP_GRACE_SECONDS, STOP_POLL_SECONDS = 45.0, 0.05
REFRESH_SECONDS = 5.0
ENVIRONMENT = ("AWS_", "BENCH_", "MLFLOW_", "OMP_", "PG")
"""How the names of the variables begin that a worker gets from the launcher."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """One node of the cluster, and what it lends."""

    host: str
    """Its machine's name and address."""
    num_cpus: int
    num_gpus: int


@dataclass(frozen=True)
class Share:
    """How a cluster is shared out among workers."""

    num_workers: int
    """At once."""
    num_threads: int
    """Of each; also the CPUs that each takes."""
    num_gpus: float
    """That each takes, such as 0.5."""


class RayEngine:
    """The nodes of a Ray cluster, those that join it later among them."""

    def __init__(
        self,
        ray: ModuleType,
        *,
        num_workers: int | None,
        device: str,
        per_gpu: int,
        storage_url: str | None,
        held: ExitStack,
    ) -> None:
        """Share out the cluster that `ray` is connected to; `close` gives back what is `held`.

        Raises:
            UserError: as `share_cluster` and `check_reach`.
        """
        self._ray = ray
        self._wanted = num_workers
        self._device, self._per_gpu, self._storage_url = device, per_gpu, storage_url
        share = self._share(self._nodes())
        self.num_workers = share.num_workers
        self.num_threads = share.num_threads
        # A worker that died is the queue's business: Ray must not start it a second time.
        self._work = ray.remote(
            num_returns="streaming",
            max_retries=0,
            num_cpus=share.num_threads,
            num_gpus=share.num_gpus,
        )(work_on_node)
        self._folder = Path.cwd()
        self._environment = passed_on(os.environ)
        self._measured = time.monotonic()
        self._held = held.pop_all()

    def start(self, assignment: Assignment) -> "_Task":
        """A task that does `assignment`; it waits in Ray's queue while no node has room."""
        arguments = (assignment, self._folder, self._environment)
        return _Task(self._ray, self._work.remote(*arguments))

    def wait(self, workers: Iterable["_Task"], seconds: float) -> None:
        """Return when a task has said something or ended, and after `seconds`."""
        said = [worker.said for worker in workers]
        if said:
            self._ray.wait(said, timeout=seconds)
        else:
            time.sleep(seconds)
        if time.monotonic() - self._measured > REFRESH_SECONDS:
            self._measured = time.monotonic()
            nodes = self._nodes()
            with suppress(UserError):  # none lends at present: what waits, waits in Ray's queue
                self.num_workers = self._share(nodes).num_workers

    def close(self) -> None:
        """Leave the cluster; one that we started ends."""
        self._held.close()

    def _nodes(self) -> list[Node]:
        nodes = nodes_of(self._ray.nodes())
        check_reach(nodes, self._storage_url)
        return nodes

    def _share(self, nodes: Sequence[Node]) -> Share:
        return share_cluster(nodes, self._wanted, self._device, per_gpu=self._per_gpu)


class _Task:
    """A worker on some node."""

    def __init__(self, ray: ModuleType, said: Any) -> None:
        self._ray = ray
        self.said = said
        self._messages: list[Message] = []
        self._exit_code: int | None = None

    @property
    def exit_code(self) -> int | None:
        self._listen()
        return self._exit_code

    def messages(self) -> list[Message]:
        self._listen()
        messages, self._messages = self._messages, []
        return messages

    def stop(self) -> None:
        self._ray.cancel(self.said, force=False)

    def kill(self) -> None:
        self._ray.cancel(self.said, force=True)

    def close(self) -> None:
        """Ray frees what it kept for a task that has ended."""

    def _listen(self) -> None:
        """Take in what has come.

        Raises:
            UserError: the node cannot do the work.
        """
        while self._exit_code is None and self._ray.wait([self.said], timeout=0)[0]:
            try:
                said = self._ray.get(next(self.said))
            except self._ray.exceptions.TaskCancelledError:
                self._exit_code = EXIT_START_AGAIN
            except self._ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise UserError(str(error.cause)) from None
                _logger.warning("a node cannot start a worker: %s", _last_line(error))
                self._exit_code = EXIT_BUG
            except (self._ray.exceptions.RayError, StopIteration) as error:
                _logger.warning("a worker is lost with its node: %s", type(error).__name__)
                self._exit_code = -signal.SIGKILL
            else:
                if isinstance(said, int):
                    self._exit_code = said
                else:
                    self._messages += said


def join_cluster(
    address: str | None,
    num_workers: int | None,
    device: str,
    *,
    gpus: Sequence[str],
    per_gpu: int,
    storage_url: str | None,
) -> RayEngine:
    """Connect to the Ray cluster at `address`; without one, start a cluster of this machine alone,
    which listens on 127.0.0.1 and ends with us.

    Raises:
        UserError: no package ray, no cluster there, `gpus` (Ray deals them out); as
            `share_cluster` and `check_reach`.
    """
    if gpus:
        raise UserError(
            f"--gpus names GPUs of this machine, Ray deals out its nodes', got {','.join(gpus)} "
            "with --engine ray; leave it out, --per-gpu alone says how many workers share one"
        )
    if address is not None and "://" in address:
        raise UserError(
            f"--address is HOST:PORT or auto, got {address!r}; type the command on a node of the "
            "cluster, Ray's client has no part in it"
        )
    with ExitStack() as held:
        # Ray prints there when a node dies; stdout is for results.
        held.enter_context(redirect_stdout(sys.stderr))
        ray = _connect(address)
        held.callback(ray.shutdown)
        return RayEngine(
            ray,
            num_workers=num_workers,
            device=device,
            per_gpu=per_gpu,
            storage_url=storage_url,
            held=held,
        )


def nodes_of(entries: Iterable[Mapping[str, Any]]) -> list[Node]:
    """The living ones of what ``ray.nodes()`` returns."""
    return [
        Node(
            host=f"{entry['NodeManagerHostname']} {entry['NodeManagerAddress']}",
            num_cpus=int(entry["Resources"].get("CPU", 0)),
            num_gpus=int(entry["Resources"].get("GPU", 0)),
        )
        for entry in entries
        if entry["Alive"]
    ]


def check_reach(nodes: Sequence[Node], storage_url: str | None) -> None:
    """Refuse a queue in a file if the nodes are on several machines.

    Raises:
        UserError: it is.
    """
    hosts = sorted({node.host for node in nodes})
    if len(hosts) > 1 and (storage_url is None or storage_url.startswith("sqlite")):
        raise UserError(
            f"a Ray cluster of several machines needs a queue that all reach, got a file and "
            f"{len(hosts)} machines ({', '.join(hosts[:3])}); name --storage postgresql://…"
        )


def share_cluster(
    nodes: Sequence[Node], num_workers: int | None, device: str, *, per_gpu: int
) -> Share:
    """One worker with one thread on each CPU, or `per_gpu` workers on each GPU; or `num_workers`
    with as many threads as there is room for.

    Raises:
        UserError: less than one worker; a cluster that lends no CPU, or no GPU for "cuda".
    """
    if num_workers is not None and num_workers < 1:
        raise UserError(
            f"--workers must be at least 1, got {num_workers}; leave it out for one per CPU"
        )
    if per_gpu < 1 or (per_gpu > 1 and device == "cpu"):
        raise UserError(
            f"--per-gpu is how many workers share each GPU, at least 1, got {per_gpu} with "
            f"--device {device}"
        )
    lending = [node for node in nodes if node.num_cpus and (device == "cpu" or node.num_gpus)]
    if not lending:
        lacking = "CPU" if device == "cpu" else "node with CPUs and GPUs"
        raise UserError(
            f"the Ray cluster lends no {lacking}, got {len(nodes)} nodes; start one by ray start "
            "--address=HOST:PORT"
        )
    if device == "cpu":
        count = sum(node.num_cpus for node in lending)
        wanted = count if num_workers is None else num_workers
        fitting = (
            threads
            for threads in range(max(node.num_cpus for node in lending), 0, -1)
            if sum(node.num_cpus // threads for node in lending) >= wanted
        )
        return Share(wanted, next(fitting, 1), 0.0)
    places = [(node.num_cpus, node.num_gpus * per_gpu) for node in lending]
    threads = max(1, min(cpus // slots for cpus, slots in places))
    count = sum(min(cpus // threads, slots) for cpus, slots in places)
    return Share(count if num_workers is None else num_workers, threads, 1 / per_gpu)


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What a worker gets of the launcher's environment: addresses, passwords, caches."""
    return {name: value for name, value in environment.items() if name.startswith(ENVIRONMENT)}


def work_on_node(
    assignment: Assignment, folder: Path, environment: Mapping[str, str]
) -> Iterator[list[Message] | int]:
    """The body of a task: do `assignment` in a process of this node, in the launcher's working
    folder.

    Yields:
        What the process says, in lists, and its exit code at the end.

    Raises:
        UserError: the node does not see the launcher's working folder.
    """
    os.environ.update(environment)
    if not (folder / assignment.folder / DEFINITION).is_file():
        raise UserError(
            f"each node of the Ray cluster must see the working folder of the launcher, node "
            f"{os.uname().nodename} does not see {folder / assignment.folder / DEFINITION}; put "
            "out/ and the data on a folder that all share, under the same path"
        )
    os.chdir(folder)
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")  # Ray has set it for this task
    # A process that multiprocessing starts runs its parent's script, here Ray's, again.
    vars(sys.modules["__main__"]).pop("__file__", None)
    engine = LocalEngine(1, assignment.num_threads)
    worker = engine.start(assignment.on_gpu(gpu) if gpu else assignment)
    assert worker is not None, "an engine without GPUs of its own has room"
    try:
        while worker.exit_code is None:
            engine.wait([worker], NODE_POLL_SECONDS)
            if said := worker.messages():
                yield said
        if said := worker.messages():
            yield said
        yield worker.exit_code
    finally:
        _end(worker)


def _end(worker: Worker) -> None:
    """See to it that `worker` has ended: it was told to stop, or its launcher is gone."""
    if worker.exit_code is None:
        worker.stop()
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        while worker.exit_code is None and time.monotonic() < deadline:
            time.sleep(STOP_POLL_SECONDS)
        if worker.exit_code is None:
            worker.kill()
    worker.close()


def _connect(address: str | None) -> ModuleType:
    """The module ray, connected."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    arguments: dict[str, Any] = {"address": address}
    if address is None:
        # Despite its name: a cluster that does not leave 127.0.0.1, on Linux too.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Ray does so by itself, with a warning.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        arguments = {
            "address": "local",
            "num_cpus": len(os.sched_getaffinity(0)),
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError(
            f"--engine ray needs the package {error.name}, which is not installed; "
            "python -m pip install 'deepspeech-bench[ray]' brings it"
        ) from error
    if "PYTHONPATH" in os.environ:
        paths = os.environ["PYTHONPATH"].split(os.pathsep)
        found = os.pathsep.join(str(Path(path).absolute()) for path in paths)
        # The task's own module is found by it, so it cannot come with the task.
        arguments["runtime_env"] = {"env_vars": {"PYTHONPATH": found}}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **arguments)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "on this machine" if address is None else f"at {address}"
        raise UserError(
            f"no Ray cluster {where} can be used: {_last_line(error)}; ray start --head makes one"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
    return ray  # type: ignore[no-any-return]


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
