"""An engine that starts workers on the nodes of a Ray cluster.

Ray only chooses a node with free resources; retries are the queue's. A worker is a Ray task that
starts the worker process on its node, forwards its messages and returns its exit code. If the node
or the task is lost, the process notices the closed connection, stops at its next step and gives its
slot back.

    launcher            Ray task on the node        worker process
    _Task.messages  <-  stream of messages      <-  pipe
    _Task.stop      ->  cancel                  ->  SIGTERM
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType

from bench.core.cli import EXIT_BUG, EXIT_START_AGAIN
from bench.core.errors import UserError
from bench.queue.storage import stop_behind
from bench.study.definition import FILE as DEFINITION
from bench.workers.engine import LocalEngine, Message, Worker
from bench.workers.ray_cluster import (
    Node,
    Share,
    check_address,
    check_reach,
    connect,
    last_line,
    nodes_of,
    share_cluster,
)
from bench.workers.worker import Assignment

NODE_POLL_SECONDS = 0.5
# Less than the launcher waits: a process that hangs is killed on its node.
STOP_GRACE_SECONDS, STOP_POLL_SECONDS = 45.0, 0.05
REFRESH_SECONDS = 5.0
ENVIRONMENT = ("AWS_", "BENCH_", "MLFLOW_", "OMP_", "PG")
"""Prefixes of the environment variables that the launcher passes to workers."""

_logger = logging.getLogger(__name__)


@contextmanager
def _letting_stops_through() -> Iterator[None]:
    """Unwrap an exception that a signal handler raised in Ray's compiled code: Ray reports it as a
    SystemError."""
    try:
        yield
    except SystemError as error:
        if (stop := stop_behind(error)) is not None:
            raise stop from None
        raise


class RayEngine:
    """Workers on the nodes of a Ray cluster, including nodes that join later."""

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
        """Plan the workers of the cluster that `ray` is connected to; `close` closes `held`.

        Raises:
            UserError: as `share_cluster` and `check_reach`.
        """
        self._ray = ray
        self._wanted = num_workers
        self._device, self._per_gpu, self._storage_url = device, per_gpu, storage_url
        share = self._share(self._nodes())
        self.num_workers = share.num_workers
        self.num_threads = share.num_threads
        self.num_ranks = 1
        # The queue retries a worker that died: Ray must not start it a second time.
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

    @_letting_stops_through()
    def start(self, assignment: Assignment) -> "_Task":
        """A task for `assignment`, which waits in Ray's queue until a node has free resources."""
        arguments = (assignment, self._folder, self._environment)
        return _Task(self._ray, self._work.remote(*arguments))

    @_letting_stops_through()
    def wait(self, workers: Iterable["_Task"], seconds: float) -> None:
        """Return when a task has sent a message or ended, at the latest after `seconds`."""
        said = [worker.said for worker in workers]
        if said:
            self._ray.wait(said, timeout=seconds)
        else:
            time.sleep(seconds)
        if time.monotonic() - self._measured > REFRESH_SECONDS:
            self._measured = time.monotonic()
            nodes = self._nodes()
            with suppress(UserError):  # no node lends at present: tasks wait in Ray's queue
                self.num_workers = self._share(nodes).num_workers

    def close(self) -> None:
        """Disconnect from the cluster; a cluster that `connect` started ends."""
        self._held.close()

    def _nodes(self) -> list[Node]:
        nodes = nodes_of(self._ray.nodes())
        check_reach(nodes, self._storage_url)
        return nodes

    def _share(self, nodes: Sequence[Node]) -> Share:
        return share_cluster(nodes, self._wanted, self._device, per_gpu=self._per_gpu)


class _Task:
    """A worker on a node of the cluster."""

    def __init__(self, ray: ModuleType, said: Iterator[object]) -> None:
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

    def end_frozen(self) -> None:
        self.stop()  # the task kills its child process if that does not react

    def close(self) -> None:
        """Ray releases the resources of a task that has ended."""

    @_letting_stops_through()
    def _listen(self) -> None:
        """Receive the messages that have arrived.

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
                _logger.warning("a node cannot start a worker: %s", last_line(error))
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
    which listens on 127.0.0.1 and ends with this process.

    Raises:
        UserError: no package ray, no cluster there, `gpus` (Ray assigns them); as
            `share_cluster` and `check_reach`.
    """
    if gpus:
        raise UserError(
            "--gpus names GPUs of this machine, Ray assigns those of its nodes, got "
            f"{','.join(gpus)} with --engine ray; leave it out, --per-gpu alone says how many "
            "workers share one"
        )
    if address not in (None, "auto"):
        check_address(address)
    with ExitStack() as held:
        # Ray prints there when a node dies; stdout is for results.
        held.enter_context(redirect_stdout(sys.stderr))
        ray = connect(address)
        held.callback(ray.shutdown)
        return RayEngine(
            ray,
            num_workers=num_workers,
            device=device,
            per_gpu=per_gpu,
            storage_url=storage_url,
            held=held,
        )


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of the launcher's environment that workers get: addresses, passwords, caches."""
    return {name: value for name, value in environment.items() if name.startswith(ENVIRONMENT)}


def work_on_node(
    assignment: Assignment, folder: Path, environment: Mapping[str, str]
) -> Iterator[list[Message] | int]:
    """The body of a task: run `assignment` in a process of this node, in the launcher's working
    folder.

    Yields:
        The messages of the process, in lists, and its exit code at the end.

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
