"""A follower: a rank of a run that takes the steps that the leader announces, and nothing else.

See bench.training.ranks for who decides, and bench.training.replica for how gradients add up.
"""

import os
import queue
import signal
import sys
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist

from bench.core.errors import named
from bench.core.gpus import environment_of
from bench.core.seeding import seed_torch
from bench.data.batches import Dataset
from bench.data.resident import resident_features
from bench.training import checkpoint
from bench.training.clocks import Clocks
from bench.training.config import build_model, run_config_from_dict
from bench.training.device import deterministic, exact_float32, keep_freed_memory
from bench.training.inputs import InputPlan
from bench.training.memory import is_out_of_memory
from bench.training.model_ema import ModelEma
from bench.training.optim import restore_optimizer
from bench.training.outside import VARIANT_RECORD, find_recorded
from bench.training.replica import Replica
from bench.training.state import LoopState
from bench.training.step import Trained, train_step

TIMEOUT = timedelta(minutes=30)
"""Of one sum over the ranks."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What followers train; can be pickled. The rest is in the run's last checkpoint."""

    dataset: Dataset
    last: Path
    """The checkpoint."""
    num_steps: int
    """Of the whole run."""
    num_ranks: int
    num_threads: int
    """Of each rank."""
    device: torch.device
    """Its type; each rank sees one GPU of its own."""
    precision: torch.dtype


@dataclass(frozen=True)
class Failure:
    """A follower's last message, or what its end tells: why it ends."""

    kind: Literal["memory", "error", "death"]
    """"death": it said nothing."""
    reason: str


def join(rank: int, num_ranks: int, place: str, device: torch.device) -> None:
    """Make torch's default process group, whose ranks meet at the file `place`; returns when all
    have come. Its sockets are bound to 127.0.0.1."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    os.environ.update(GLOO_SOCKET_IFNAME=loopback, NCCL_SOCKET_IFNAME=loopback)
    # The leader aborts the group itself if a rank fails; torch would end the process.
    os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "0"
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend, init_method=f"file://{place}", rank=rank, world_size=num_ranks, timeout=TIMEOUT
    )


def follow(job: Job, rank: int, gpu: str | None, place: str, leader: Connection) -> None:
    """The body of a follower's process, which sees `gpu` alone. It says None once it is ready, then
    takes a step for each message, and ends when the pipe closes."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # to the whole group: the leader answers it
    if gpu is not None:
        os.environ.update(environment_of(gpu))
    torch.set_num_threads(job.num_threads)
    if job.device.type == "cpu":
        keep_freed_memory()
    try:
        _take_steps(job, rank, place, leader)
    except BaseException as error:
        reason = f"rank {rank}: {named(error)}"
        leader.send(Failure("memory" if is_out_of_memory(error) else "error", reason))
    # Not by returning: the process group may wait for the other ranks.
    os._exit(1)


def _take_steps(job: Job, rank: int, place: str, leader: Connection) -> None:
    device = job.device
    content = checkpoint.load(job.last, device)
    find_recorded(str(content["config"].get("variant")), [job.last.parents[1]], VARIANT_RECORD)
    config = run_config_from_dict(content["config"])
    model = build_model(config).to(device)
    checkpoint.load_weights(job.last, content, config, model)
    trained = Trained.of(config, model, device, job.precision)
    restore_optimizer(trained.optimizer, content["optimizer"])
    state = LoopState(**content["loop"])
    features = resident_features(job.dataset, device)
    # Ready before joining: to join is to wait for the leader, who joins when all are ready.
    leader.send(None)
    join(rank, job.num_ranks, place, device)
    trained = replace(
        trained,
        replica=Replica(model, job.num_ranks),
        average=ModelEma(model, 0.0),  # the leader's is evaluated
        features=features,
    )
    plan = InputPlan(
        config=config,
        dataset=job.dataset,
        output_lengths=model.output_lengths,
        num_steps=job.num_steps,
        num_micro_batches=state.num_micro_batches,
        device=device,
        shapes=None,
        are_resident=features is not None,
        rank=rank,
        num_ranks=job.num_ranks,
    )
    batches = plan.from_step(state.step, epoch=state.epoch, batch=state.batch)
    announced, clocks = _announced(leader), Clocks({}, device)
    with deterministic(config.training.deterministic), exact_float32():
        while True:
            announced.get()
            inputs = next(batches).to(device)
            seed_torch(inputs.dropout_seed, device)
            train_step(trained, inputs, clocks)


def _announced(leader: Connection) -> "queue.SimpleQueue[bytes]":
    """The leader's announcements of steps. A thread reads them, so that the process ends at once
    when the pipe closes, whatever its device waits for."""
    steps: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while True:
            try:
                steps.put(leader.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)

    threading.Thread(target=read, name="leader", daemon=True).start()
    return steps
