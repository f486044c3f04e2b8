"""A corpus of short utterances told in longer ones, since what training costs depends on length."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import soundfile
import torch

from bench.core.config import digest
from bench.data.audio import read_utterance
from bench.data.utterance import Corpus, Utterance

SAMPLE_RATE_HZ = 16_000


def joined(corpus: Corpus, seconds: float, folder: Path) -> Corpus:
    """`corpus` with utterances of a split put end to end until each is `seconds` long or a little
    more; their recordings are written into `folder`. Watch utterances stay as they are.

    What is left at the end of a split is left out, unless the split has nothing else.
    """
    folder.mkdir(parents=True)
    utterances: list[Utterance] = []
    for split in ("train", "valid", "test"):
        for number, part in enumerate(_parts(corpus.split(split), seconds)):
            utterances.append(_written(part, folder / f"{split}-{number:05d}.flac"))
    utterances += corpus.split("watch")
    return replace(
        corpus, utterances=tuple(utterances), digest=digest([corpus.digest, "joined", seconds])
    )


def _parts(utterances: Sequence[Utterance], seconds: float) -> Iterator[list[Utterance]]:
    part: list[Utterance] = []
    any_yet = False
    for utterance in utterances:
        part.append(utterance)
        if sum(u.seconds for u in part) >= seconds:
            yield part
            part, any_yet = [], True
    if part and not any_yet:
        yield part


def _written(part: Sequence[Utterance], path: Path) -> Utterance:
    """The utterances of `part` as one, with their audio end to end at `path`."""
    samples_N = torch.cat([read_utterance(u, SAMPLE_RATE_HZ) for u in part])
    soundfile.write(path, samples_N.numpy(), SAMPLE_RATE_HZ, subtype="PCM_16")
    return Utterance(
        id=path.stem,
        audio=path,
        sample_rate_hz=SAMPLE_RATE_HZ,
        channel=None,
        text=" ".join(u.text for u in part),
        speaker=part[0].speaker,
        split=part[0].split,
        seconds=len(samples_N) / SAMPLE_RATE_HZ,
        audio_digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
    )
