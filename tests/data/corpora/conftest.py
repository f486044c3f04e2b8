"""A writer of small recordings, each with samples of its own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def record() -> Callable[..., Path]:
    def write(path: Path, seconds: float = 0.3, num_channels: int = 1) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(path.name.encode()))
        samples = rng.uniform(-0.3, 0.3, (round(seconds * 16_000), num_channels))
        soundfile.write(path, samples, 16_000)
        return path

    return write
