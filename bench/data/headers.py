"""The length that a recording's header claims, read without the decoder, which trusts it.

A streaming writer cannot know the length when it writes the header: FLAC says 0, WAV says 0 or a
number near 2 or 4 GB. Other headers are wrong because a transfer broke off or because files were
joined by ``cat``.
"""

import io
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

UNKNOWN_BYTES = 0x7FFF0000
"""A length in bytes of this or more means "unknown": sox, arecord and ffmpeg write numbers just
below 2 or 4 GB when they write to a pipe."""
_SLACK_SECONDS = 0.1
"""At most this much may follow the samples of a WAV: some writers pad or append a tag."""
_NIST_HEADER_BYTES = 1024
_FLAC_TOTAL_OFFSET = 21
"""Of the five bytes that end with the 36 bits of STREAMINFO's number of samples (RFC 9639,
section 8.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The length that a header claims, and patches that make the decoder ignore it."""

    frames: int | None = None
    """Samples per channel; None: the header does not say."""
    fault: str = ""
    """The fault of the file, as an error names it; "" if there is none."""
    patches: tuple[tuple[int, bytes], ...] = ()
    """Offsets, and bytes that replace those in the file, so that the decoder reads to its end."""


def read_claim(path: Path) -> Claim:
    """The claim of the WAV, FLAC or SPH file `path`; of any other format, no claim."""
    with path.open("rb") as handle:
        start = id3_bytes(handle.read(10))
        handle.seek(start)
        head = handle.read(_NIST_HEADER_BYTES)
        if head.startswith(b"fLaC"):
            return _flac(head, start)
        if head.startswith(b"NIST_1A"):
            return _sphere(head)
        if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
            return _wave(handle)
    return Claim()


def id3_bytes(head: bytes) -> int:
    """The length of the ID3v2 tag that begins with `head` (10 bytes suffice), 0 if none does."""
    if len(head) < 10 or not head.startswith(b"ID3"):
        return 0
    # Seven bits a byte, so that none is 0xFF, with which a frame of MP3 begins:
    #
    #     "ID3" version flags | 0aaaaaaa 0bbbbbbb 0ccccccc 0ddddddd
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _flac(head: bytes, start: int) -> Claim:
    total = head[_FLAC_TOTAL_OFFSET : _FLAC_TOTAL_OFFSET + 5]
    if len(total) < 5:
        return Claim()
    # The 36 bits share their first byte with the end of the bits per sample:
    #
    #     byte 21     22       23       24       25
    #     bbbbnnnn nnnnnnnn nnnnnnnn nnnnnnnn nnnnnnnn
    frames = (total[0] & 0x0F) << 32 | int.from_bytes(total[1:], "big")
    unknown = bytes([total[0] & 0xF0, 0, 0, 0, 0])
    return Claim(frames=frames or None, patches=((start + _FLAC_TOTAL_OFFSET, unknown),))


def _sphere(head: bytes) -> Claim:
    found = re.search(rb"^sample_count -i (\d+)$", head, re.MULTILINE)
    if b"shorten" in head:
        return Claim(fault="is SPH compressed with shorten; convert it with `sph2pipe -f wav`")
    return Claim(frames=int(found[1]) if found else None)


def _wave(handle: BinaryIO) -> Claim:
    """The claim of a RIFF file (Multimedia Programming Interface 1.0, IBM and Microsoft 1991)."""
    #     "RIFF" size "WAVE" | "fmt " 16 ... | "data" length samples ... | "LIST" length ...
    #
    # Chunks begin at even offsets, so an odd length is followed by one byte of padding.
    size = handle.seek(0, os.SEEK_END)
    handle.seek(12)
    bytes_per_second = 0
    while (head := handle.read(8)) and len(head) == 8:
        name, length = struct.unpack("<4sI", head)
        begin = handle.tell()
        if name == b"fmt " and length >= 16:
            form = handle.read(16)
            if len(form) < 16:  # the file ends within its header, which the decoder will say
                break
            (bytes_per_second,) = struct.unpack("<8xI4x", form)
        elif name == b"data":
            return _wave_data(handle, begin, length, size, bytes_per_second)
        handle.seek(begin + length + length % 2)
    return Claim()


def _wave_data(
    handle: BinaryIO, begin: int, length: int, size: int, bytes_per_second: int
) -> Claim:
    there = size - begin
    slack = max(8, _SLACK_SECONDS * bytes_per_second)
    # Length 0 in a file with samples is a writer's that could not go back to the header. With other
    # chunks behind it, the recording is empty indeed.
    if length >= UNKNOWN_BYTES or (length == 0 and not _is_chunks(handle, begin, size)):
        # Both lengths reach to the end of the file; of one too long for them the decoder is told
        # "unknown".
        whole = struct.pack("<I", min(there, UNKNOWN_BYTES))
        riff = struct.pack("<I", min(size - 8, UNKNOWN_BYTES))
        return Claim(patches=((4, riff), (begin - 4, whole)))
    # Fewer bytes than claimed are missing speech, so less of that is allowed than of bytes too
    # many.
    if length > there + slack / 10:
        return Claim(fault=f"ends after {there} of the {length} bytes of audio that it claims")
    if there - length > slack and not _is_chunks(handle, begin + length + length % 2, size):
        return Claim(
            fault=f"claims {length} bytes of audio, but {there - length} follow that are neither "
            "counted nor another chunk: its header is wrong, or files were joined"
        )
    return Claim()


def _is_chunks(handle: BinaryIO, position: int, size: int) -> bool:
    """True if RIFF chunks, at least one and each within the file, follow at `position`."""
    handle.seek(position)
    head = handle.read(8)
    if len(head) < 8:
        return False
    name, length = struct.unpack("<4sI", head)
    is_name = name != b"RIFF" and all(32 <= byte < 127 for byte in name)
    return is_name and position + 8 + length <= size + 1


class PatchedFile(io.FileIO):
    """A file read with some bytes replaced, so that a decoder sees another header."""

    def __init__(self, path: Path, patches: tuple[tuple[int, bytes], ...]) -> None:
        super().__init__(path, "rb")
        self._patches = patches

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        """As in io.RawIOBase, patched."""
        view = memoryview(buffer).cast("B")
        begin = self.tell()
        count = super().readinto(view) or 0
        # What of the patch lies in the bytes that were read:
        #
        #     file      . . . [ p a t c h ] . . . .
        #     buffer            [ . . . . . . ]          begin to begin + count
        #                       low       high
        for offset, patch in self._patches:
            low, high = max(offset, begin), min(offset + len(patch), begin + count)
            if low < high:
                view[low - begin : high - begin] = patch[low - offset : high - offset]
        return count
