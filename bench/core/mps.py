"""NVIDIA's Multi-Process Service (MPS): several workers compute on one GPU at the same time.

Without it the GPU switches between processes, and one small training leaves most of it idle.
https://docs.nvidia.com/deploy/mps
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
START_SECONDS = 30.0

_logger = logging.getLogger(__name__)


@contextmanager
def sharing(gpus: Sequence[str]) -> Iterator[dict[str, str]]:
    """Run a control daemon for `gpus` (UUIDs) within the block; gives what clients need in their
    environment.

    Empty, with a warning, where it cannot be started: workers then take turns. The user's own
    daemon, if CUDA_MPS_PIPE_DIRECTORY names one, is used and not stopped.
    """
    if own := os.environ.get(PIPES):
        yield {PIPES: own}
        return
    # A socket's path is short, so its folder is not in the study's.
    folder = Path(mkdtemp(prefix="bench-mps-", dir="/tmp"))
    given = {PIPES: str(folder), LOGS: str(folder)}
    started = _start({**given, "CUDA_VISIBLE_DEVICES": ",".join(gpus)})
    try:
        yield {PIPES: str(folder)} if started else {}
    finally:
        if started:
            _call([CONTROL], given, said="quit\n")
        shutil.rmtree(folder, ignore_errors=True)


def _start(variables: dict[str, str]) -> bool:
    if (problem := _call([CONTROL, "-d"], variables)) is None:
        return True
    _logger.warning(
        "several workers on a GPU take turns, since %s could not be started: %s", CONTROL, problem
    )
    return False


def _call(command: list[str], variables: dict[str, str], said: str = "") -> str | None:
    """Run `command`; what went wrong, if something did."""
    # A file, not a pipe: a daemon may keep it open, and a pipe ends only when all have closed it.
    with TemporaryFile("w+") as answer:
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **variables},
                input=said,
                stdout=answer,
                stderr=answer,
                text=True,
                timeout=START_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
        answer.seek(0)
        words = answer.read().strip()
    return (words or f"exit status {done.returncode}") if done.returncode else None
