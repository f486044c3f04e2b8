"""Resuming a run after the device's memory ran out in a training step."""

import logging
from pathlib import Path

import torch

from bench.training import checkpoint
from bench.training.config import RunConfig
from bench.training.memory import is_shared

_logger = logging.getLogger(__name__)


def prepare_retry(
    directory: Path,
    config: RunConfig,
    retried_at: int | None,
    device: torch.device,
    reason: str,
) -> int | None:
    """Prepare the last checkpoint of a run for a retry: unchanged on a shared GPU, else, or if that
    failed too, with twice the micro-batches.

    Args:
        directory: of the run.
        config: of the run.
        retried_at: the last result of this function, None before the first call.
        device: whose memory ran out.
        reason: the allocator's message.

    Returns:
        The step of the last retry without changes; the next failure from that step doubles the
        micro-batches.

    Raises:
        torch.OutOfMemoryError: both have been tried.
    """
    last, best = (directory / "checkpoints" / name for name in ("last.pt", "best.pt"))
    content = checkpoint.newest_whole(last, best, torch.device("cpu"))
    loop = content["loop"] if content else {"step": -1}
    # A neighbour may have needed the memory for a moment. If the same step fails again, without any
    # progress in between, the run itself needs too much.
    if is_shared(device) and retried_at != loop["step"]:
        _logger.warning("out of memory on a shared GPU; trying again from step %d", loop["step"])
        return int(loop["step"])
    most = 2 * config.training.num_micro_batches
    if content is None or loop["num_micro_batches"] >= most:
        raise torch.OutOfMemoryError(reason)
    loop["num_micro_batches"] = most
    checkpoint.write(last, content)
    message = "out of memory; going on from step %d with %d micro-batches a batch"
    _logger.warning(message, loop["step"], most)
    return retried_at
