"""One run on several devices: rank 0, the leader, trains as ever; followers take its steps with it.

    leader    the loop: evaluates, decides, reports, saves     ──► "a step" through a pipe
    follower  the same batch, the rows of its rank             ◄── and so on, until the pipe closes
              sums over all ranks by NCCL on CUDA, by gloo on a CPU: see bench.training.replica

Followers live as long as one attempt of the leader's loop. They begin with its last checkpoint and
hold nothing that is not in it. If one fails, its reason becomes the leader's error, so that a run
whose memory runs out in any rank is retried as one that is alone. If the leader dies, its end of
the pipe closes, and they end at once.
"""

import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from tempfile import TemporaryDirectory
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bench.core.errors import TemporaryError, UserError
from bench.core.gpus import choose
from bench.core.interrupt import kept_from_children
from bench.training.clocks import Clocks
from bench.training.follower import Failure, Job, follow, join
from bench.training.inputs import StepInputs
from bench.training.memory import is_out_of_memory
from bench.training.replica import Replica
from bench.training.step import Step, Trained
from variants.spec import AcousticModel

END_SECONDS = 60.0
"""For what a follower that ends has said to arrive."""


@dataclass(frozen=True)
class _Follower:
    rank: int
    process: BaseProcess
    connection: Connection


class RankFailedError(RuntimeError):
    """A follower met an error, of another kind than too little memory."""


class RankDiedError(TemporaryError):
    """A follower's process ended without a word, as by the kernel's out-of-memory killer: like the
    leader's own death this costs an attempt, not the run."""


class Ranks:
    """The ranks of a run as its leader sees them; a block that ends the followers with it.

    Raises:
        torch.OutOfMemoryError, RankFailedError, RankDiedError: within the block or at its end, a
            follower ended; in place of what the leader then met.
    """

    def __init__(self, num_ranks: int, device: torch.device) -> None:
        self.num_ranks = num_ranks
        self._device = device
        self._followers: list[_Follower] = []
        self._failure: Failure | None = None
        self._watch: threading.Thread | None = None
        self._is_over = False
        self._held = ExitStack()

    def gather(self, model: AcousticModel, job: Job) -> Replica:
        """Start the followers; returns once all have loaded the last checkpoint."""
        if self.num_ranks == 1:
            return Replica(model)
        _refuse_own_statistics(model)
        folder = self._held.enter_context(TemporaryDirectory(prefix="bench-ranks-"))
        place = f"{folder}/ranks"
        self._start(job, place)
        self._watch = threading.Thread(target=self._await_failure, name="ranks", daemon=True)
        self._watch.start()
        join(0, self.num_ranks, place, job.device)
        return Replica(model, self.num_ranks)

    def stepping(self, step: Step) -> Step:
        """`step`, which the followers take too."""
        return step if self.num_ranks == 1 else partial(self._announced, step)

    def check(self) -> None:
        """Raise if a follower has failed: what the device has computed may then be wrong. Called
        before such values are used; with several ranks it waits for the device."""
        if self.num_ranks > 1 and self._device.type == "cuda":
            torch.cuda.synchronize()
        if self._failure is not None:
            raise _error_of(self._failure)

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        # That a follower is gone shows in the leader as a RuntimeError of the process group.
        is_own = not isinstance(error, RuntimeError) or is_out_of_memory(error)
        if not is_own and self._watch is not None:
            self._watch.join(END_SECONDS)  # a closed connection may tell before a follower does
        self._end()
        if isinstance(error, Exception) and self._failure is not None:
            raise _error_of(self._failure) from error

    def _announced(
        self, step: Step, trained: Trained, inputs: StepInputs, clocks: Clocks
    ) -> Tensor:
        for follower in self._followers:
            with suppress(OSError):  # it has ended: the watch says why
                follower.connection.send_bytes(b"step")
        return step(trained, inputs, clocks)

    def _start(self, job: Job, place: str) -> None:
        context = get_context("spawn")  # CUDA does not survive a fork
        gpus = choose([]) if job.device.type == "cuda" else []
        resource_tracker.ensure_running()  # unblocks SIGINT in its caller
        for rank in range(1, self.num_ranks):
            ours, theirs = context.Pipe()
            gpu = gpus[rank] if gpus else None
            process = context.Process(
                target=follow, args=(job, rank, gpu, place, theirs), name=f"rank {rank}"
            )
            with kept_from_children():
                process.start()
            theirs.close()
            self._followers.append(_Follower(rank, process, ours))
        for follower in self._followers:
            self._hear(follower)  # on a busy machine it may load for minutes; a dead one is heard
            self.check()

    def _hear(self, follower: _Follower) -> None:
        """Receive a message: None once it is ready, or why it ends."""
        try:
            said = follower.connection.recv()
        except (EOFError, OSError):
            follower.process.join(END_SECONDS)
            code = follower.process.exitcode
            said = Failure("death", f"rank {follower.rank} ended with exit code {code}")
        if isinstance(said, Failure) and not self._is_over:
            self._failure = self._failure or said

    def _await_failure(self) -> None:
        """The watch, a thread: returns when a follower has ended."""
        heard = wait([follower.connection for follower in self._followers])
        for follower in self._followers:
            if follower.connection in heard:
                self._hear(follower)
        if self._failure is not None and dist.is_initialized() and _by_nccl():
            # The leader's device would wait for the sum for ever. gloo's connections close.
            dist.distributed_c10d._abort_process_group()

    def _end(self) -> None:
        # First, so that the watch takes the end of followers that are killed here for no failure.
        self._is_over = True
        for follower in self._followers:
            follower.process.kill()
            follower.process.join()
        if self._watch is not None:
            self._watch.join(END_SECONDS)
        for follower in self._followers:
            follower.connection.close()
        if dist.is_initialized():
            leave = dist.distributed_c10d._abort_process_group
            (leave if _by_nccl() else dist.destroy_process_group)()
        self._followers.clear()
        self._held.close()


def _by_nccl() -> bool:
    return bool(dist.get_backend() == dist.Backend.NCCL)


def _error_of(failure: Failure) -> Exception:
    if failure.kind == "memory":
        return torch.OutOfMemoryError(failure.reason)
    if failure.kind == "death":
        return RankDiedError(f"{failure.reason}; the same command goes on from the last checkpoint")
    return RankFailedError(failure.reason)


def _refuse_own_statistics(model: AcousticModel) -> None:
    """Refuse torch's batch normalisation, of variants from outside: each rank would normalise by
    the statistics of its own rows."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise UserError(
                "a run on several GPUs normalises by the statistics of whole batches, got "
                f"{type(module).__name__} in {name}; use variants.ops.normalization, or leave "
                "--gpus-per-run out"
            )
