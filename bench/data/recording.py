"""Recordings decoded to their end, block by block: FLAC, WAV, OGG, MP3, SPH (NIST) and headerless
RAW, through libsndfile.

RAW files have no header; they are read as 16 kHz, one channel, 16 bit, little-endian, as in the
"littleendian" archives of CMU's AN4.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from bench.core.errors import UserError
from bench.data.headers import UNKNOWN_BYTES, Claim, PatchedFile, read_claim
from bench.data.mp3 import Mp3Layout, mp3_layout
from bench.data.utterance import Snippet

FloatArray = npt.NDArray[np.float32]

BLOCK_SAMPLES = 65_536
"""Of all channels together, decoded at a time."""
SNIPPET_SLACK_SECONDS = 0.01
"""A snippet may end at most this long after its recording: corpora state rounded times."""
_CLAIM_SLACK_SECONDS = 0.01

_RAW = {
    "samplerate": 16_000,
    "channels": 1,
    "format": "RAW",
    "subtype": "PCM_16",
    "endian": "LITTLE",
}
_RATES_HZ = range(1_000, 768_001)
"""Accepted sample rates; a header can claim any, and buffers are allocated accordingly."""
_RESTORE = "restore the file or take the utterance out of the corpus"
_CORRECT = "correct the path or restore the file"
_LEAST_CORRELATION = 0.5
_LEAST_GAIN = 0.3
_CUT_LINE = re.compile(r": (\d+) \(should be (\d+)\)")
"""libsndfile's log line for a header that claims more bytes than the file has."""


class AudioError(UserError):
    """A recording, or a part of one, that cannot be used."""

    def __init__(self, kind: str, fault: str, way_out: str) -> None:
        """`kind` is what it is counted under, such as "audio missing"."""
        super().__init__(f"{fault}; {way_out}")
        self.kind, self.fault, self.way_out = kind, fault, way_out


def unreadable(path: Path, fault: str) -> AudioError:
    """The error for the recording `path` with that fault."""
    return AudioError("audio unreadable", f"audio file {path} {fault}", _RESTORE)


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file read as a stream, to its last byte instead of the end that its header claims."""

    def seekable(self) -> bool:
        return False


class _ByteOrder:
    """Detects 16-bit samples that were read in the wrong byte order.

    Neighbouring samples of speech correlate by 0.8 to 0.99. With swapped bytes the low byte, which
    is mostly noise, dominates, and the correlation is near 0.
    """

    def __init__(self) -> None:
        self._sums = np.zeros((2, 2))
        """Row 0 as read, row 1 with swapped bytes: sum of products of neighbours, of squares."""

    def add(self, samples_N: FloatArray) -> None:
        """Add a block of samples."""
        #     bytes in the file    01 00 | 02 00        as read: 1, 2; swapped: 256, 512
        native_N = np.rint(samples_N * 32768).astype(np.int16)
        for sums, values_N in zip(self._sums, (native_N, native_N.byteswap()), strict=True):
            values = values_N.astype(np.float64)
            sums += values[1:] @ values[:-1], values @ values

    def correlations(self) -> tuple[float, float]:
        """The correlation of neighbouring samples, as read and with swapped bytes."""
        native, swapped = self._sums[:, 0] / np.maximum(self._sums[:, 1], 1e-9)
        return float(native), float(swapped)


class Recording:
    """An open recording."""

    def __init__(self, path: Path, sounds: Sequence[_Sound], claim: Claim) -> None:
        """`sounds` are decoded one after the other."""
        self._path, self._sounds, self._claim = path, sounds, claim
        self.sample_rate_hz: int = sounds[0].samplerate
        self.num_channels: int = sounds[0].channels
        self._byte_order = _ByteOrder() if sounds[0].format == "RAW" else None

    def blocks(
        self, channel: int | None, start: int = 0, stop: int | None = None
    ) -> Iterator[FloatArray]:
        """The samples from `start` to before `stop` of one channel, float32 in -1 to 1, in pieces.

        Without `stop` they go to the recording's end, which is then compared with what the header
        claims. They are fewer where the recording ends earlier.

        Raises:
            AudioError: audio that breaks off, is corrupt or holds values that are not numbers, a
                recording without samples, several channels with none (or a missing one) named.
        """
        column = chosen_channel(self._path, self.num_channels, channel) or 0
        position = self._skipped_to(start)
        for samples_NC in self._decoded(position, stop):
            # A decoder that could not seek has decoded from 0: what lies before `start` is dropped.
            skipped = max(0, start - position)
            position += len(samples_NC)
            samples_N = np.ascontiguousarray(samples_NC[skipped:, column])
            if not np.isfinite(samples_N).all():
                raise unreadable(self._path, "holds samples that are not finite numbers")
            if self._byte_order:
                self._byte_order.add(samples_N)
            if len(samples_N):
                yield samples_N
        if stop is None:
            self._check_end(position)

    def _skipped_to(self, start: int) -> int:
        """The position to decode from: `start` if the decoder can seek to it exactly, else 0.

        libsndfile 1.2.2 is off by a few samples after a seek in Vorbis.
        """
        sound = self._sounds[0]
        if start == 0 or len(self._sounds) > 1 or sound.subtype == "VORBIS":
            return 0
        try:
            sound.seek(start)
        except soundfile.SoundFileError:  # after the end, or not supported by the format
            return 0
        return start

    def _decoded(self, position: int, stop: int | None) -> Iterator[FloatArray]:
        most = max(1, BLOCK_SAMPLES // self.num_channels)
        for sound in self._sounds:
            while stop is None or position < stop:
                wanted = most if stop is None else min(most, stop - position)
                try:
                    samples_NC = sound.read(wanted, dtype="float32", always_2d=True)
                except soundfile.SoundFileError as error:
                    fault = f"is corrupt or breaks off ({_reason(error)})"
                    raise unreadable(self._path, fault) from error
                if not len(samples_NC):
                    break
                position += len(samples_NC)
                yield samples_NC

    def _check_end(self, num_frames: int) -> None:
        if num_frames == 0:
            raise unreadable(self._path, "holds no samples (zero length)")
        if self._byte_order:
            self._check_byte_order(*self._byte_order.correlations())
        claimed, rate = self._claim.frames, self.sample_rate_hz
        if claimed is None or abs(claimed - num_frames) <= _CLAIM_SLACK_SECONDS * rate:
            return
        if num_frames < claimed:
            fault = f"ends after {num_frames / rate:.2f} of the {claimed / rate:.2f} s it claims"
            raise unreadable(self._path, fault)
        if self._sounds[0].format == "NIST":
            fault = f"goes on for {num_frames / rate:.2f} s, but claims {claimed / rate:.2f} s"
            raise unreadable(self._path, f"{fault}: its header is wrong, or files were joined")

    def _check_byte_order(self, native: float, swapped: float) -> None:
        if swapped < _LEAST_CORRELATION or swapped < native + _LEAST_GAIN:
            return
        raise AudioError(
            "bytes the wrong way round",
            f"audio file {self._path} is read as 16-bit little-endian, but neighbouring samples "
            f"correlate by {native:.2f}, with their bytes swapped by {swapped:.2f}: it is "
            "big-endian",
            "convert it: sox -t raw -r 16000 -e signed -b 16 -c 1 -B IN.raw OUT.wav",
        )


@contextmanager
def open_recording(path: Path) -> Iterator[Recording]:
    """The recording `path`, to be read once.

    Raises:
        AudioError: no such file, or not a recording that can be read.
    """
    try:
        size = path.stat().st_size if path.is_file() else None
    except (OSError, ValueError) as error:  # no name that a file can have: a NUL in it, too long
        reason = getattr(error, "strerror", None) or error
        raise AudioError(
            "audio missing", f"audio file {str(path)!r}: {reason}", _CORRECT
        ) from error
    if size is None:
        fault = "does not exist"
        if path.exists():
            fault = "is a folder" if path.is_dir() else "is a pipe or a device"
        raise AudioError("audio missing", f"audio file {path} {fault}", _CORRECT)
    if size == 0:
        raise unreadable(path, "has zero length")
    with ExitStack() as stack:
        try:
            yield _opened(path, stack)
        except OSError as error:
            raise unreadable(path, f"cannot be read ({error.strerror or error})") from error


def _opened(path: Path, stack: ExitStack) -> Recording:
    claim = Claim()
    options: Mapping[str, object] = {}
    sources: list[object] = [path]
    if path.suffix.lower() == ".raw":
        if path.stat().st_size % 2:
            raise unreadable(path, "has an odd number of bytes, so no 16-bit samples")
        options = _RAW
    else:
        claim = read_claim(path)
        # Only a file that has none of those headers may be an MP3: its sync bits occur in any data.
        layout = mp3_layout(path) if claim == Claim() else Mp3Layout()
        if fault := claim.fault or layout.fault:
            raise unreadable(path, fault)
        if claim.patches:
            sources = [stack.enter_context(PatchedFile(path, claim.patches))]
        elif layout.streams:
            sources = list(layout.streams)
    try:
        sounds = [stack.enter_context(_Sound(source, **options)) for source in sources]
    except soundfile.SoundFileError as error:
        fault = f"is corrupt or of an unknown format ({_reason(error)})"
        raise unreadable(path, fault) from error
    _check(path, sounds)
    return Recording(path, sounds, claim)


def _check(path: Path, sounds: Sequence[_Sound]) -> None:
    first = sounds[0]
    if first.samplerate not in _RATES_HZ:
        raise unreadable(path, f"claims {first.samplerate} samples per second")
    if any((s.samplerate, s.channels) != (first.samplerate, first.channels) for s in sounds):
        raise unreadable(path, "joins streams of different sample rates or numbers of channels")
    if first.format == "OGG":
        log = first.extra_info
        if "Last page lacks an end-of-stream bit" in log:
            raise unreadable(path, "breaks off: its last page lacks the mark of the end")
        if "Junk after the last page" in log:
            raise unreadable(
                path, "breaks off within a page, or goes on after its end as files joined do"
            )
    # Of the formats left out here the claims of headers have been read (bench.data.headers, mp3).
    elif first.format not in ("WAV", "WAVEX", "FLAC", "MP3", "RAW"):
        for claimed, there in _CUT_LINE.findall(first.extra_info):
            if int(there) < int(claimed) < UNKNOWN_BYTES:
                raise unreadable(path, f"ends after {there} of the {claimed} bytes that it claims")


def count_frames(path: Path, channel: int | None) -> int:
    """The samples per channel of `path`, decoded to its end; errors as `Recording.blocks`."""
    with open_recording(path) as recording:
        return sum(len(block) for block in recording.blocks(channel))


def snippet_range(snippet: Snippet | None, sample_rate_hz: int) -> tuple[int, int | None]:
    """First sample of `snippet`, and the one after its last; None: to the end."""
    if snippet is None:
        return 0, None
    start = round(snippet.start_seconds * sample_rate_hz)
    if snippet.seconds is None:
        return start, None
    return start, round((snippet.start_seconds + snippet.seconds) * sample_rate_hz)


def check_snippet(path: Path, snippet: Snippet, num_frames: int, sample_rate_hz: int) -> None:
    """Check that `snippet` lies within the recording `path` of `num_frames` samples.

    Raises:
        AudioError: it does not, by more than SNIPPET_SLACK_SECONDS, or it holds no sample.
    """
    start, stop = snippet_range(snippet, sample_rate_hz)
    slack = SNIPPET_SLACK_SECONDS * sample_rate_hz
    if 0 <= start < num_frames and (stop is None or start < stop <= num_frames + slack):
        return
    end = "its end" if stop is None else f"{stop / sample_rate_hz:.2f} s"
    raise AudioError(
        "snippet outside its recording",
        f"a snippet lies within its recording, but {start / sample_rate_hz:.2f} s to {end} does "
        f"not in {path} of {num_frames / sample_rate_hz:.2f} s",
        "correct offset and duration",
    )


def chosen_channel(path: Path, num_channels: int, channel: int | None) -> int | None:
    """The channel to read of `path`: None if it has only one, else the one asked for.

    Raises:
        AudioError: several channels, and none or a missing one asked for.
    """
    if num_channels == 1:
        return None
    if channel is None:
        raise AudioError(
            "several channels",
            f"audio must have one channel, but {path} has {num_channels}",
            "name the one to use, as in --channel 0",
        )
    if channel >= num_channels:
        raise AudioError(
            "several channels",
            f"{path} has {num_channels} channels, so there is no --channel {channel}",
            "count from 0",
        )
    return channel


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(". ")
