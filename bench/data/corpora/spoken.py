"""`spoken`: sentences of a grammar, synthesised by eSpeak NG in many voices; nothing to download.

The plan (sentence, voice, level and noise of each utterance) is a pure function of this code; the
samples are a pure function of the plan and of eSpeak NG's version. The name of the cache folder is
a digest of both, so a corpus is synthesised once and never out of date.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import soundfile

from bench.core.config import digest
from bench.core.console import ProgressCallback
from bench.core.errors import OutOfHostMemoryError, UserError
from bench.core.interrupt import kept_from_children
from bench.core.paths import cache_root, made_once
from bench.core.seeding import derive
from bench.data.corpora.grammar import Grammar, draw_sentences, read_grammar
from bench.data.corpora.manifest import read_manifest
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing
from bench.data.corpora.voices import Line, Voice, voices

SYNTHESIS_VERSION = "1"
"""Raised when synthesis.py gives other samples for the same plan."""

_SEED = 2017
_WORDS_PER_MINUTE = (120, 170)
_PITCH = (35, 65)
_LEVEL_DB = (-32.0, -20.0)
_SNR_DB = (20.0, 35.0)
_MARGIN_S = (0.10, 0.25)
_NOISES = ("white", "pink")
MANIFEST_FILE = "manifest.jsonl"


@dataclass(frozen=True, kw_only=True)
class Size:
    """A grammar, and the number of sentences and voices of each split."""

    grammar: Grammar
    num_sentences: dict[str, int]
    """Of train, valid and test."""
    unseen_share: float
    """Share of the sentences of valid and test that are from the grammar's unseen templates."""
    num_voices: dict[str, int]
    """By split; at most as many as bench.data.corpora.voices has for it."""
    min_train_count: int
    """Every word of valid and test occurs at least this often in train, so that errors measure
    recognition, not the lack of training data for a word: a network trained for minutes misses 62 %
    of words that occur 3 to 5 times, and 8 % of words that occur 50 times."""


SIZES = {
    "spoken": Size(
        grammar=read_grammar("spoken"),
        num_sentences={"train": 1040, "valid": 160, "test": 288},
        unseen_share=0.2,
        num_voices={"train": 232, "valid": 16, "test": 48, "watch": 1},
        min_train_count=6,
    ),
    "spoken-tiny": Size(
        grammar=read_grammar("spoken-tiny"),
        num_sentences={"train": 48, "valid": 10, "test": 10},
        unseen_share=0.0,
        num_voices={"train": 4, "valid": 2, "test": 2, "watch": 1},
        min_train_count=3,
    ),
}
_ACCENTS_PER_VARIANT = 4


class _Sentence(NamedTuple):
    text: str
    templates: str
    """As in Line."""


def plan(size: Size) -> list[Line]:
    """Every utterance, in the order of speaking; splits share neither sentence nor voice."""
    rng = random.Random(_SEED)
    sentences = _dealt(size, rng)
    lines = []
    for split, texts in sentences.items():
        pairs = voices(split, _ACCENTS_PER_VARIANT)[: size.num_voices[split]]
        cast = [
            Voice(
                accent=accent,
                variant=variant,
                words_per_minute=round(_between(_WORDS_PER_MINUTE, rng)),
                pitch=round(_between(_PITCH, rng)),
            )
            for accent, variant in pairs
        ]
        # In turn, so that each voice speaks about equally often.
        for index, (name, sentence) in enumerate(texts):
            lines.append(_line(f"{split}-{name}", split, sentence, cast[index % len(cast)], rng))
    return lines


def _line(name: str, split: str, sentence: _Sentence, voice: Voice, rng: random.Random) -> Line:
    return Line(
        id=name,
        split=split,
        text=sentence.text,
        templates=sentence.templates,
        voice=voice,
        level_db=round(_between(_LEVEL_DB, rng), 2),
        snr_db=round(_between(_SNR_DB, rng), 2),
        noise=_NOISES[rng.random() < 0.5],
        noise_seed=derive(_SEED, f"noise {name}"),
        margin_s=round(_between(_MARGIN_S, rng), 3),
    )


def _between(limits: tuple[float, float], rng: random.Random) -> float:
    low, high = limits
    return low + (high - low) * rng.random()


def _dealt(size: Size, rng: random.Random) -> dict[str, list[tuple[str, _Sentence]]]:
    """(name, sentence) of each split; each word of valid and test occurs in train at least
    `min_train_count` times."""
    unseen = {s: round(size.unseen_share * size.num_sentences[s]) for s in ("test", "valid")}
    seen = {split: size.num_sentences[split] - unseen[split] for split in unseen}
    drawn = draw_sentences(size.grammar, size.num_sentences["train"] + sum(seen.values()), rng)
    # The words of what is not dealt to test or valid, so at the end those of train.
    left = Counter(word for sentence in drawn for word in sentence.split())
    dealt: dict[str, list[_Sentence]] = {"train": [], "valid": [], "test": []}
    for sentence in drawn:
        split = next((s for s in ("test", "valid") if len(dealt[s]) < seen[s]), "train")
        words = Counter(sentence.split())
        if split != "train" and any(left[w] - n < size.min_train_count for w, n in words.items()):
            split = "train"
        if split != "train":
            left.subtract(words)
        dealt[split].append(_Sentence(sentence, "trained"))
    _deal_unseen(size, unseen, dealt, rng)
    numbered = {
        split: [(f"{index:04d}", sentence) for index, sentence in enumerate(sentences)]
        for split, sentences in dealt.items()
    }
    watched = [(name, _Sentence(text, "watched")) for name, text in size.grammar.watch.items()]
    return numbered | {"watch": watched}


def _deal_unseen(
    size: Size, counts: Mapping[str, int], dealt: dict[str, list[_Sentence]], rng: random.Random
) -> None:
    """Add sentences of unseen templates to valid and test, evenly spaced among the others."""
    if not any(counts.values()):
        return
    trained = Counter(word for sentence in dealt["train"] for word in sentence.text.split())
    templates = size.grammar.unseen_templates
    # Sentences with a word that is too rare in train are skipped, so more than needed are drawn.
    drawn = draw_sentences(size.grammar, 2 * sum(counts.values()), rng, templates)
    known = (x for x in drawn if all(trained[w] >= size.min_train_count for w in x.split()))
    for split, count in counts.items():
        for index in range(count):
            # The middles of `count` equal parts of the list as it is when the sentence is inserted.
            place = round((index + 0.5) * (len(dealt[split]) + 1) / count)
            dealt[split].insert(place, _Sentence(next(known), "unseen"))


def corpus_folder(name: str, progress: ProgressCallback | None = None) -> Path:
    """The folder of WAVs and their manifest, synthesised first if the cache has none.

    Raises:
        UserError: eSpeak NG is not installed, or does not work.
        UnwritableError: the cache cannot be written.
        OutOfHostMemoryError: there is too little memory.
    """
    try:
        espeak_version = version("espeakng-loader")
    except PackageNotFoundError as error:
        raise UserError(
            f"corpus {name!r} is spoken by eSpeak NG, which is not installed; run: pip install "
            "'deepspeech-bench[spoken]'"
        ) from error
    lines = plan(SIZES[name])
    key = digest([SYNTHESIS_VERSION, espeak_version, [asdict(line) for line in lines]])
    folder = cache_root() / "spoken" / f"{name}-{key}"
    return made_once(folder, partial(_speak, lines, progress))


def _speak(lines: Sequence[Line], progress: ProgressCallback | None, folder: Path) -> None:
    """Fill `folder` with the WAVs of `lines` and their manifest; errors as in `_synthesise`."""
    _write_rows(folder / "plan.jsonl", [asdict(line) for line in lines])
    _synthesise(folder, len(lines), progress)
    rows = [
        {
            "audio_filepath": f"{line.id}.wav",
            "duration": round(soundfile.info(folder / f"{line.id}.wav").duration, 3),
            "text": line.text,
            "speaker": line.voice.name,
            "split": line.split,
            "accent": line.voice.accent,
            "templates": line.templates,
        }
        for line in lines
    ]
    _write_rows(folder / MANIFEST_FILE, rows)


def _synthesise(folder: Path, num_lines: int, progress: ProgressCallback | None) -> None:
    """Speak the plan in `folder`, in a process of its own.

    Raises:
        OSError: the folder cannot be written.
        OutOfHostMemoryError: there is too little memory.
        UserError: eSpeak NG does not work.
    """
    with kept_from_children():
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.data.corpora.synthesis", str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[3],  # where `bench` is found, whatever the working folder
        )
    with process:
        assert process.stdout is not None
        said = "no output"
        try:
            for said in map(str.strip, process.stdout):
                if progress and said.isdigit():
                    progress(int(said), num_lines)
        except BaseException:  # such as Ctrl-C: the process must not outlive its folder
            process.kill()
            raise
    if process.returncode == os.EX_IOERR:
        number = int(said)
        raise OSError(number, os.strerror(number))
    if process.returncode == os.EX_OSERR:
        raise OutOfHostMemoryError(f"while eSpeak NG spoke: {said}")
    if process.returncode != 0:
        raise UserError(
            f"eSpeak NG could not speak the corpus (status {process.returncode}, last: {said}); "
            "run again, or reinstall: pip install --force-reinstall espeakng-loader"
        )


def _write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _read(name: str, config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    if config.path is not None:
        raise UserError(
            f"corpus {name!r} is synthesised and takes no path, got {config.path!r}; write "
            f"--corpus {name}"
        )
    return read_manifest(corpus_folder(name, progress) / MANIFEST_FILE)


SPOKEN = CorpusSpec(
    name="spoken",
    summary="synthetic: 50 minutes of English sentences in 297 voices; nothing to download",
    source="own grammar, spoken by eSpeak NG (espeakng-loader)",
    read=partial(_read, "spoken"),
)

SPOKEN_TINY = CorpusSpec(
    name="spoken-tiny",
    summary="synthetic: about a minute of short sentences, for tests",
    source=SPOKEN.source,
    read=partial(_read, "spoken-tiny"),
)
