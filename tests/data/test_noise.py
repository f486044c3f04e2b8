import numpy as np
import pytest

from bench.data.noise import SnrMeter

RATE = 16_000


def bursts(snr_db: float, seed: int = 0) -> np.ndarray:
    """Three seconds of noise, every other 0.3 s of it louder by a signal of `snr_db`."""
    rng = np.random.default_rng(seed)
    noise = 0.01 * rng.standard_normal(3 * RATE)
    signal = 0.01 * 10 ** (snr_db / 20) * rng.standard_normal(3 * RATE)
    speaks = np.arange(3 * RATE) // (3 * RATE // 10) % 2 == 1
    return (noise + signal * speaks).astype(np.float32)


def estimate(samples: np.ndarray, *cuts: int) -> float | None:
    meter = SnrMeter(RATE)
    for block in np.split(samples, cuts):
        meter.add(block)
    return meter.snr_db()


@pytest.mark.parametrize("snr_db", [0, 5, 10, 20, 40])
def test_a_known_ratio_is_estimated(snr_db: float) -> None:
    found = estimate(bursts(snr_db))
    assert found == pytest.approx(snr_db, abs=2.5)


def test_it_does_not_depend_on_blocks_or_loudness() -> None:
    samples = bursts(15)
    whole = estimate(samples)
    assert estimate(samples, 1, 777, 20_000, 20_001) == whole
    assert estimate(0.25 * samples) == pytest.approx(whole, abs=0.11)


def test_silence_and_short_recordings() -> None:
    samples = bursts(20)
    assert estimate(samples[:3199]) is None, "nine frames and a bit"
    assert estimate(samples[:3200]) is not None
    assert estimate(np.zeros(RATE, dtype=np.float32)) == -10
    silent = np.where(np.arange(len(samples)) < RATE, 0, samples).astype(np.float32)
    assert estimate(silent) == pytest.approx(10 * np.log10(0.0101 * 2**30), abs=2)
