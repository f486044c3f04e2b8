"""Transcribe recordings with a trained checkpoint."""

from bench.core import cli
from bench.flags.transcribe import build_parser

if __name__ == "__main__":
    cli.start("transcribe", build_parser())  # before the imports below: they take seconds

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from bench.core.console import print_error
from bench.core.errors import UserError
from bench.data.pcm import read_blocks, read_pcm
from bench.data.streaming import ResamplingStream
from bench.data.utterance import AUDIO_SUFFIXES, Snippet
from bench.decoding import greedy
from bench.results.study import TrainedModel, find_checkpoint
from bench.study.request import check_decoder, decoder_of
from bench.training.streaming import EndpointRule, Heard, Recogniser

EXIT_SOME_FAILED = 1


def main(options: argparse.Namespace) -> None:
    """Print one line of text per recording; unreadable recordings are errors on stderr."""
    _check(options)
    if options.stream is not None:
        _transcribe_stream(options)
        return
    snippet = _snippet(options)
    checkpoint = find_checkpoint(options.checkpoint, options.study)
    trained = TrainedModel.load(checkpoint, options.device)
    decoder = decoder_of(options, checkpoint, trained.config) or greedy
    paths = list(_recordings(options.audio))
    rows: list[dict[str, str]] = []
    for path in paths:
        try:
            text = trained.transcribe(
                path, channel=options.channel, snippet=snippet, decoder=decoder
            )
        except UserError as error:
            print_error(str(error))
            continue
        rows.append({"audio": str(path), "text": text})
        if not options.json:
            prefix = f"{path}\t" if len(paths) > 1 else ""
            print(prefix + text)  # rich would turn the tab into spaces
    if options.json:
        cli.print_json(rows)
    if len(rows) < len(paths):
        sys.exit(EXIT_SOME_FAILED)


def _check(options: argparse.Namespace) -> None:
    if options.stream is None:
        if not options.audio:
            raise UserError("transcribe needs recordings, got none; name some, or give --stream")
        if options.rate is not None:
            raise UserError("--rate belongs to --stream -; leave it out, or give --stream")
        return
    if check_decoder(options):
        raise UserError(
            "--stream decodes greedily while audio arrives, got --decoder beam; leave out one"
        )
    for flag, value in (
        ("recordings", options.audio),
        ("--offset", options.offset),
        ("--duration", options.duration),
    ):
        if value not in (None, []):
            raise UserError(f"--stream takes no {flag}; leave them out, or leave out --stream")


def _transcribe_stream(options: argparse.Namespace) -> None:
    """Print each final text when it is final, and partial ones on stderr until then."""
    checkpoint = find_checkpoint(options.checkpoint, options.study)
    trained = TrainedModel.load(checkpoint, options.device)
    rule = EndpointRule(blank_seconds=options.endpoint)
    recogniser = Recogniser(trained, trained.device, rule)
    rate_hz = trained.config.features.sample_rate_hz
    rate, chunks = _chunks(options, rate_hz)
    resampled = ResamplingStream(rate, rate_hz)
    try:
        for samples_N in chunks:
            _print_heard(recogniser.push(resampled.push(samples_N)), options)
    finally:  # at Ctrl-C and after an error too: what was said is not lost
        rest_N = resampled.push(torch.zeros(0), is_last=True)
        _print_heard(recogniser.push(rest_N, is_last=True), options)


def _chunks(options: argparse.Namespace, rate_hz: int) -> tuple[int, Iterator[Tensor]]:
    """The rate of the stream, and its samples."""
    if options.stream != "-":
        return read_blocks(Path(options.stream), options.channel, options.rate, options.chunk)
    if options.channel is not None:
        raise UserError(
            f"--channel is of recordings, a pipe has one channel, got {options.channel}; leave it "
            "out, and send that channel alone, as with sox … remix 1"
        )
    if sys.stdin.isatty():
        raise UserError(
            "--stream - reads samples from a pipe, got a terminal; pipe some, as from "
            f"arecord -f S16_LE -r {rate_hz}"
        )
    rate = options.rate or rate_hz
    return rate, read_pcm(sys.stdin.fileno(), rate, options.chunk)


def _print_heard(heard: Iterable[Heard], options: argparse.Namespace) -> None:
    on_one_line = sys.stderr.isatty()
    for each in heard:
        if each.is_final and options.json:
            row = {
                "text": each.text,
                "start_seconds": round(each.start_seconds, 3),
                "end_seconds": round(each.end_seconds, 3),
                "word_seconds": [round(seconds, 3) for seconds in each.words.seconds],
            }
            print(json.dumps(row, ensure_ascii=False), flush=True)
        elif each.is_final:
            if on_one_line and not options.quiet:
                sys.stderr.write("\r\x1b[K")  # erase the partial text
                sys.stderr.flush()
            print(each.text, flush=True)
        elif not options.quiet:
            # Of a text longer than the line, the end is the new part.
            columns = shutil.get_terminal_size().columns
            shown = f"\r\x1b[K{each.text[-columns + 1 :]}" if on_one_line else f"{each.text}\n"
            sys.stderr.write(shown)
            sys.stderr.flush()


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
    return Snippet(start_seconds=offset or 0.0, seconds=duration)
