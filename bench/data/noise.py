"""An estimate of the signal-to-noise ratio of a recording, from the recording alone.

The power of frames of 20 ms: its 10th percentile is taken for the noise (pauses between and within
words), its 95th for speech and noise, as NIST's `stnr` reads both off the histogram of powers. The
estimate is a rank of recordings more than a measurement: an utterance without a pause has a lower
one, and music or a second speaker in the background count as noise only in the first one's pauses.
"""

import numpy as np
from numpy.typing import NDArray

from bench.data.recording import FloatArray

FRAME_SECONDS = 0.02
NOISE_PERCENTILE, SPEECH_PERCENTILE = 10, 95
FLOOR = 2.0**-30
"""The least power of noise, that of the last bit of 16: digital silence has none."""
FEWEST_FRAMES = 10
"""A recording of fewer has no estimate."""


class SnrMeter:
    """Gathers the power of the frames of a recording that comes in blocks."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._size = max(1, round(FRAME_SECONDS * sample_rate_hz))
        self._rest_N: FloatArray = np.zeros(0, dtype=np.float32)
        """The samples after the last whole frame."""
        self._powers: list[NDArray[np.float64]] = []

    def add(self, samples_N: FloatArray) -> None:
        """Add a block of samples."""
        joined_N = np.concatenate([self._rest_N, samples_N])
        whole = len(joined_N) - len(joined_N) % self._size
        frames = joined_N[:whole].reshape(-1, self._size).astype(np.float64)
        self._powers.append(np.square(frames).mean(axis=1))
        self._rest_N = joined_N[whole:]

    def snr_db(self) -> float | None:
        """The estimate in dB, to a tenth; None of too short a recording. An incomplete last frame
        is left out."""
        powers = np.concatenate(self._powers) if self._powers else np.zeros(0)
        if len(powers) < FEWEST_FRAMES:
            return None
        noise, speech = np.percentile(powers, (NOISE_PERCENTILE, SPEECH_PERCENTILE))
        noise = max(float(noise), FLOOR)
        # The upper percentile is of speech and noise together, so the noise is subtracted; where
        # little is left, the estimate ends at -10 dB.
        return round(float(10 * np.log10(max(float(speech) - noise, noise / 10) / noise)), 1)
