"""Transcribe recordings with a trained checkpoint."""

from bench.core import cli
from bench.flags.transcribe import build_parser

if __name__ == "__main__":
    cli.start("transcribe", build_parser())  # before the imports below: they take seconds

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.core.console import STDERR
from bench.core.errors import UserError
from bench.data.audio import read_audio
from bench.data.corpora import load_corpus
from bench.data.ids import AUDIO_SUFFIXES
from bench.data.utterance import Corpus, Snippet
from bench.decoding import Decoder, greedy
from bench.results.checkpoints import find_checkpoint
from bench.study.decoding import tuned_weights
from bench.study.request import beam_search_of, check_decoder
from bench.training.checkpoint import load_model, load_stats
from bench.training.device import resolve_device
from bench.training.evaluate import transcribe

EXIT_SOME_FAILED = 1


def main(options: argparse.Namespace) -> None:
    """Print one line of text per recording; unreadable recordings are errors on stderr."""
    snippet = _snippet(options)
    device = resolve_device(options.device)
    checkpoint = find_checkpoint(options.checkpoint, options.study)
    model, config = load_model(checkpoint, device)
    stats = load_stats(checkpoint)
    decoder: Decoder = greedy
    if check_decoder(options):
        trained_on = Corpus(name="", utterances=())
        if options.lm is None:
            trained_on = load_corpus(config.corpus, splits=("train", "valid"))
        decoder = beam_search_of(options, trained_on, tuned_weights(checkpoint))
    paths = list(_recordings(options.audio))
    rate = config.features.sample_rate_hz
    rows: list[dict[str, str]] = []
    for path in paths:
        try:
            waveform_N = read_audio(
                path, channel=options.channel, sample_rate_hz=rate, snippet=snippet
            )
        except UserError as error:
            STDERR.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
            continue
        text = transcribe(model, config, waveform_N, device, stats, decoder)
        rows.append({"audio": str(path), "text": text})
        if not options.json:
            prefix = f"{path}\t" if len(paths) > 1 else ""
            print(prefix + text)  # rich would turn the tab into spaces
    if options.json:
        cli.print_json(rows)
    if len(rows) < len(paths):
        sys.exit(EXIT_SOME_FAILED)


def _recordings(given: Iterable[Path]) -> Iterator[Path]:
    """The files given, and all recordings below the folders given, sorted."""
    for path in given:
        if not path.is_dir():
            yield path
            continue
        named = (p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
        found = sorted(p for p in named if p.is_file())
        if not found:
            suffixes = ", ".join(AUDIO_SUFFIXES)
            raise UserError(
                f"no recording is in {path}: names end in {suffixes}; name the files themselves, "
                "or another folder"
            )
        yield from found


def _snippet(options: argparse.Namespace) -> Snippet | None:
    offset, duration = options.offset, options.duration
    if offset is None and duration is None:
        return None
    if not (offset is None or 0 <= offset < float("inf")):
        raise UserError(f"--offset is a time from 0 seconds on, got {offset}; correct it")
    if not (duration is None or 0 < duration < float("inf")):
        raise UserError(f"--duration must be above 0 seconds, got {duration}; correct it")
    return Snippet(start_seconds=offset or 0.0, seconds=duration)
