"""The streams of an MP3 file, each with a tag that states its number of frames.

libsndfile decodes as many frames as the tag in a stream's first frame says (Xing, Info or LAME;
http://gabriel.mp3-tech.org/mp3infotag.html), and without a tag as many as it estimates from the
first frames' bit rate. So of an MP3 without a tag, and of all but the first of several concatenated
files, it drops a part or all. This module counts frames by their headers, splits a file into its
streams, and adds a tag to a stream that has none.
"""

import io
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from bench.data.headers import id3_bytes

_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the header's two bits of version: MPEG-1, 2 and 2.5 (ISO 11172-3, 13818-3)."""
_KBPS_MPEG1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_MPEG2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_TAG_KBPS_INDEX = 8
"""The bit rate of the frame that holds an added tag, 112 or 64 kbit/s: long enough for a tag at
every sample rate."""
_TAGS = (b"Xing", b"Info")
_HAS_FRAMES = 1
_ID3V1_BYTES = 128
_UNCOUNTED = 1
"""Some encoders count the frame that holds the tag, others do not."""

Data = mmap.mmap | bytes


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame of layer III."""

    begin: int
    length: int
    rate_hz: int
    tag_at: int
    """The offset at which a tag would begin."""


@dataclass(slots=True)
class _Stream:
    claimed: int | None
    """Frames by its tag; None without one."""
    tag: bytes
    parts: list[tuple[int, int]] = field(default_factory=list)
    """Begin and end of each frame but the tag's."""


@dataclass(frozen=True, kw_only=True)
class Mp3Layout:
    """How an MP3 file must be read."""

    streams: tuple[io.BytesIO, ...] = ()
    """The streams to decode in turn; (): decode the file as it is."""
    fault: str = ""
    """The fault of the file, as an error names it; "" if there is none."""


def mp3_layout(path: Path) -> Mp3Layout:
    """The layout of `path`; the file as it is if it holds no layer III frames that can be
    counted."""
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # By another name it is an MP3 only if a frame begins where the first would.
        if path.suffix.lower() != ".mp3" and _frame(data, id3_bytes(data[:10])) is None:
            return Mp3Layout()
        streams, fault = _streams(data)
        for stream in streams:
            count, claimed = len(stream.parts), stream.claimed
            if claimed is not None and count < claimed - _UNCOUNTED:
                fault = f"ends after {count} of the {claimed} frames that it claims"
        # A single stream with a tag is decoded right as it is.
        if fault or not streams or (len(streams) == 1 and streams[0].claimed is not None):
            return Mp3Layout(fault=fault)
        return Mp3Layout(streams=tuple(io.BytesIO(_joined(data, stream)) for stream in streams))


def _streams(data: Data) -> tuple[list[_Stream], str]:
    """The streams of the file, and the fault between or after their frames, "" if none."""
    # A frame with a tag begins a stream; frames beyond what it claims are a stream without a tag.
    #
    #     file       [tag: 2 frames] f f | f f f | [tag: 3 frames] f f f
    #     streams    0                     1       2
    streams: list[_Stream] = []
    end, fault = 0, ""
    for frame in _frames(data):
        gap = frame.begin - end - id3_bytes(data[end : end + 10]) if streams else 0
        if gap > max(frame.length, _ID3V1_BYTES):
            fault = f"has {gap} bytes at byte {end} that are no audio"
        end = frame.begin + frame.length
        if end > len(data):
            return streams, fault or "breaks off within its last frame"
        claimed = _tag_frames(data, frame)
        if claimed is not None:
            streams.append(_Stream(claimed, bytes(data[frame.begin : end])))
            continue
        if not streams:
            streams.append(_Stream(None, _made_tag(data, frame)))
        streams[-1].parts.append((frame.begin, end))
    whole = chain.from_iterable(_at_claim(data, stream) for stream in streams)
    return [stream for stream in whole if stream.parts], fault


def _at_claim(data: Data, stream: _Stream) -> Iterator[_Stream]:
    """The stream up to the end that its tag claims, and what follows as a stream without a tag."""
    if stream.claimed is None or len(stream.parts) <= stream.claimed + _UNCOUNTED:
        yield stream
        return
    yield replace(stream, parts=stream.parts[: stream.claimed])
    further = stream.parts[stream.claimed :]
    first = _frame(data, further[0][0])
    assert first is not None, "it was a frame before"
    yield _Stream(None, _made_tag(data, first), further)


def _joined(data: Data, stream: _Stream) -> bytes:
    tag = stream.tag
    # In the tag of a stream made here the number of frames is still to be filled in:
    #
    #     "Info"   flags   frames
    #     at       at + 4  at + 8      4 bytes each, big-endian
    if stream.claimed is None:
        at = max(tag.find(name) for name in _TAGS)
        count = len(stream.parts).to_bytes(4, "big")
        tag = tag[: at + 8] + count + tag[at + 12 :]
    return tag + b"".join(data[begin:end] for begin, end in stream.parts)


def _frames(data: Data) -> Iterator[_Frame]:
    position, size = 0, len(data)
    while position + 4 <= size:
        position += id3_bytes(data[position : position + 10])
        frame = _frame(data, position)
        if frame is None:
            # After a gap, a header counts only if another frame follows: its sync bits also occur
            # in arbitrary data.
            position = _resynchronised(data, position + 1)
            continue
        yield frame
        position = frame.begin + frame.length


def _resynchronised(data: Data, position: int) -> int:
    """The offset of the next frame that another one follows; the file's end if there is none."""
    while (position := data.find(b"\xff", position)) >= 0:
        frame = _frame(data, position)
        if frame is not None:
            following = _frame(data, position + frame.length)
            if following is not None and following.rate_hz == frame.rate_hz:
                return position
        position += 1
    return len(data)


def _frame(data: Data, position: int) -> _Frame | None:
    """The frame whose header is at `position`, or None (ISO 11172-3, section 2.4.1.3)."""
    #     byte 0     byte 1     byte 2     byte 3
    #     11111111   111vv01c   kkkkrrp.   mm......     v version, c no checksum, k bit rate,
    #                                                   r sample rate, p padding, m channel mode
    head = data[position : position + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # sync, layer III
        return None
    version, kbps_index, rate_index = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or rate_index == 3 or kbps_index in (0, 15):
        return None
    rate_hz = _RATES_HZ[version][rate_index]
    length = _frame_bytes(version, kbps_index, rate_hz) + (head[2] >> 1 & 1)
    # The header is followed by side information, of 32 bytes or in mono 17 (MPEG-1), of 17 or 9
    # (MPEG-2 and 2.5), and that by the audio, or by a tag in its place.
    is_mono = head[3] >> 6 == 3
    side_bytes = (17 if is_mono else 32) if version == 3 else (9 if is_mono else 17)
    return _Frame(
        begin=position,
        length=length,
        rate_hz=rate_hz,
        tag_at=position + 4 + side_bytes,
    )


def _frame_bytes(version: int, kbps_index: int, rate_hz: int) -> int:
    # Bytes = samples of a frame / 8 · bits per second / rate, with 1,152 samples in MPEG-1, 576
    # else.
    if version == 3:
        return 144_000 * _KBPS_MPEG1[kbps_index - 1] // rate_hz
    return 72_000 * _KBPS_MPEG2[kbps_index - 1] // rate_hz


def _tag_frames(data: Data, frame: _Frame) -> int | None:
    """The number of frames that the tag in `frame` states; None without a tag or a number."""
    tag = data[frame.tag_at : frame.tag_at + 12]
    if tag[:4] not in _TAGS or len(tag) < 12 or not tag[7] & _HAS_FRAMES:
        return None
    return int.from_bytes(tag[8:12], "big")


def _made_tag(data: Data, frame: _Frame) -> bytes:
    """A silent frame like `frame` with a tag; its number of frames is still 0."""
    head = bytearray(data[frame.begin : frame.begin + 4])
    version = head[1] >> 3 & 3
    head[1] |= 1  # no checksum
    head[2] = _TAG_KBPS_INDEX << 4 | head[2] & 0x0C  # with the rate of `frame`, unpadded
    length = _frame_bytes(version, _TAG_KBPS_INDEX, frame.rate_hz)
    made = bytearray(length)
    made[:4] = head
    at = frame.tag_at - frame.begin
    made[at : at + 8] = b"Info" + _HAS_FRAMES.to_bytes(4, "big")
    return bytes(made)
