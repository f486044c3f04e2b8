"""What starts workers: processes of this machine, or another scheduler that starts the same ones.

An engine knows nothing of slots; the launcher decides what runs, the queue sees to it that nothing
runs twice.
"""

import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Protocol

from bench.core import mps
from bench.core.cores import num_cores
from bench.core.errors import TemporaryError, UserError
from bench.core.files import exclusive_lock
from bench.core.gpus import choose, groups_of
from bench.core.interrupt import kept_from_children
from bench.core.paths import cache_folder, writing_cache
from bench.runs import set_mlflow_defaults
from bench.workers.worker import Assignment, limit_threads, work

Message = dict[str, object]

SHARED = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
"""Of workers that share a GPU: less memory is reserved without being used."""

PRELOADED = (
    "bench.workers.worker",
    "bench.runs.mlflow.store",
    "mlflow.store.tracking.sqlalchemy_store",  # else at the first connection, 0.6 s
    "torch._dynamo",  # else at a process's first optimizer, 1 s
)
"""Imported once, by the server that workers are forked from, which skips what it does not find."""


MAX_SOCKET_FOLDER_BYTES = 70
"""A socket's path has at most 108 bytes on Linux and 104 on macOS; multiprocessing adds some 30."""
SOCKET_FOLDERS = (Path("/tmp"), Path("/var/tmp"))


class Worker(Protocol):
    """A worker that was started."""

    @property
    def exit_code(self) -> int | None:
        """None while it lives; negative if it died of a signal."""

    def messages(self) -> list[Message]:
        """Its messages since the last call."""

    def stop(self) -> None:
        """Ask it to stop at its next step."""

    def kill(self) -> None:
        """Stop it at once."""

    def end_frozen(self) -> None:
        """End it although it does not react."""

    def close(self) -> None:
        """Release its resources; it has ended."""


class Engine(Protocol):
    """Starts workers."""

    num_workers: int
    """At once."""
    num_threads: int
    """Of each process."""
    num_ranks: int
    """Processes of each worker that divide its batches, see bench.training.ranks."""

    def start(self, assignment: Assignment) -> Worker | None:
        """A new worker, or None if no place is free at present."""

    def wait(self, workers: Iterable[Any], seconds: float) -> None:
        """Return when one of `workers` has sent a message or ended, or after `seconds`."""

    def close(self) -> None:
        """Release its resources; its workers have ended."""


class LocalEngine:
    """Worker processes on this machine, which divide its cores among them.

    With `gpus`, each worker sees one of them, or one group such as "0,1", and `per_gpu` workers
    share each: of all launchers of this machine together, by a lock for each GPU and place.
    """

    def __init__(
        self,
        num_workers: int,
        num_threads: int,
        *,
        gpus: Sequence[str] = (),
        per_gpu: int = 1,
        num_ranks: int = 1,
    ) -> None:
        self.num_workers = num_workers
        self.num_threads = num_threads
        self.num_ranks = num_ranks
        self._places = [(gpu, place) for place in range(per_gpu) for gpu in gpus]
        self._held = ExitStack()
        self._variables: dict[str, str] = {}
        """Of all workers: what makes them clients of MPS."""
        self._context = multiprocessing.get_context("forkserver")
        limit_threads(num_threads)
        set_mlflow_defaults()
        self._context.set_forkserver_preload(list(PRELOADED))
        _choose_socket_folder()
        resource_tracker.ensure_running()  # ignores Ctrl-C itself, but unblocks it in its caller
        with kept_from_children():
            forkserver.ensure_running()  # its imports take seconds, in which the caller prepares
            if per_gpu > 1:
                self._variables = SHARED | self._held.enter_context(mps.sharing(gpus))

    def start(self, assignment: Assignment) -> "_Process | None":
        """A process that does `assignment`."""
        if not self._places:
            return _Process(self._context, assignment, ExitStack())
        for gpu, place in self._places:
            held = _taken(gpu, place)
            if held is None:
                continue
            placed = assignment.on_gpu(gpu, self._variables)
            return _Process(self._context, placed, held)
        return None

    def wait(self, workers: Iterable["_Process"], seconds: float) -> None:
        """Return when a process has sent a message or ended, at the latest after `seconds`."""
        ends = [end for worker in workers for end in (worker.connection, worker.process.sentinel)]
        wait(ends, timeout=seconds)
        # A worker that has closed its end but not ended yet would make this a busy loop.
        time.sleep(0.05)

    def close(self) -> None:
        """Stop MPS, if it was started."""
        self._held.close()


class _Process:
    """A worker in a process of its own."""

    def __init__(
        self, context: ForkServerContext, assignment: Assignment, gpu_lock: ExitStack
    ) -> None:
        self.connection, there = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(assignment, there))
        self.process.start()
        # While a copy of the worker's end is open here, its death would not close the connection.
        there.close()
        self._gpu_lock = gpu_lock

    @property
    def exit_code(self) -> int | None:
        return self.process.exitcode

    def messages(self) -> list[Message]:
        said = []
        try:
            while self.connection.poll():
                said.append(self.connection.recv())
        except (EOFError, OSError):
            pass
        return said

    def stop(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()

    def end_frozen(self) -> None:
        self.process.kill()

    def close(self) -> None:
        # The GPU is given to the next one only when this process, and so its memory, is gone.
        self.process.join()
        self.connection.close()
        self._gpu_lock.close()


def share_host(
    num_workers: int | None,
    device: str,
    *,
    gpus: Sequence[str] = (),
    per_gpu: int = 1,
    num_ranks: int = 1,
) -> LocalEngine:
    """One worker per core with one thread each on a CPU (1.3 to 1.5 times one worker with all);
    `per_gpu` workers on each of `gpus`, by default one on each GPU that we may see.

    With `num_ranks` a worker takes as many cores, or GPUs.

    Raises:
        UserError: GPUs that are not there, or together with a number of workers.
    """
    # On a CPU all cores are divided among workers x ranks, so that no two threads share a core:
    #
    #     8 cores, 3 workers of 2 ranks      8 // 6 = 1 thread a process
    cores = num_cores()
    _check_shares(num_workers, device, gpus, per_gpu, num_ranks)
    if device == "cpu":
        count = num_workers or max(1, cores // num_ranks)
        return LocalEngine(count, max(1, cores // (count * num_ranks)), num_ranks=num_ranks)
    names = choose(gpus)
    if num_ranks > 1:
        names = groups_of(names, num_ranks)
        if num_workers is not None and num_workers > len(names):
            raise UserError(
                f"--workers {num_workers} of --gpus-per-run {num_ranks} need "
                f"{num_workers * num_ranks} GPUs, got {len(names)} times {num_ranks}; lower one"
            )
    if num_workers is not None:  # divided among all GPUs
        names = names[:num_workers]
        per_gpu = -(-num_workers // max(1, len(names)))  # rounded up: the last GPU may hold fewer
    count = num_workers or max(1, len(names) * per_gpu)
    num_threads = max(1, cores // (count * num_ranks))
    return LocalEngine(count, num_threads, gpus=names, per_gpu=per_gpu, num_ranks=num_ranks)


def _check_shares(
    num_workers: int | None, device: str, gpus: Sequence[str], per_gpu: int, num_ranks: int
) -> None:
    if gpus and device == "cpu":
        raise UserError(
            f"--gpus {','.join(gpus)} needs --device cuda, got cpu; leave --gpus out, or see why "
            "torch.cuda.is_available() is false"
        )
    if gpus and num_workers is not None:
        raise UserError(
            f"--gpus starts --per-gpu workers on each, got --workers {num_workers} too; leave it "
            "out"
        )
    if per_gpu > 1 and (device == "cpu" or num_workers is not None):
        raise UserError(
            f"--per-gpu is how many workers share each GPU, got {per_gpu} with --device {device}; "
            "leave it or --workers out"
        )
    if per_gpu > 1 and num_ranks > 1:
        raise UserError(
            f"runs share a GPU or take several, got --per-gpu {per_gpu} and --gpus-per-run "
            f"{num_ranks}; leave one out"
        )


def _choose_socket_folder() -> None:
    """Let multiprocessing keep its sockets in a folder whose path is short enough for their names:
    the temporary one, else /tmp.

    Raises:
        UserError: none can be written.
    """
    given = tempfile.gettempdir()
    if len(os.fsencode(given)) <= MAX_SOCKET_FOLDER_BYTES:
        return
    try:
        tempfile.tempdir = str(next(f for f in SOCKET_FOLDERS if os.access(f, os.W_OK | os.X_OK)))
        util.get_temp_dir()  # chosen once a process
    except StopIteration as error:
        raise UserError(
            f"TMPDIR must have at most {MAX_SOCKET_FOLDER_BYTES} bytes where /tmp cannot be "
            f"written, since sockets are named below it, got {given}; set a shorter one"
        ) from error
    finally:
        tempfile.tempdir = given


def _taken(group: str, place: int) -> ExitStack | None:
    """The locks of all GPUs of a group, or none of them if one is taken. In one order everywhere
    and without waiting, so that no two launchers wait for each other."""
    with ExitStack() as held:
        for gpu in sorted(group.split(",")):
            path = cache_folder("locks") / f"gpu-{socket.gethostname()}-{gpu}-{place}.lock"
            try:
                with writing_cache(path):
                    held.enter_context(exclusive_lock(path, patience_seconds=0))
            except TemporaryError:
                return None
        return held.pop_all()
