"""Turn recordings into text with a trained checkpoint."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.core import cli
from bench.core.console import STDERR
from bench.core.errors import UserError
from bench.data.audio import read_audio
from bench.data.ids import AUDIO_SUFFIXES
from bench.data.utterance import Snippet
from bench.results.checkpoints import find_checkpoint
from bench.training.checkpoint import load_model, load_stats
from bench.training.device import resolve_device
from bench.training.evaluate import transcribe

EXIT_SOME_FAILED = 1


def main(options: argparse.Namespace) -> None:
    """Print one line of text per recording; those that cannot be read are named on stderr."""
    snippet = _snippet(options)
    device = resolve_device(options.device)
    checkpoint = find_checkpoint(options.checkpoint, options.study)
    model, config = load_model(checkpoint, device)
    stats = load_stats(checkpoint)
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
        text = transcribe(model, config, waveform_N, device, stats)
        rows.append({"audio": str(path), "text": text})
        if not options.json:
            prefix = f"{path}\t" if len(paths) > 1 else ""
            print(prefix + text)  # rich would turn the tab into spaces
    if options.json:
        cli.print_json(rows)
    if len(rows) < len(paths):
        sys.exit(EXIT_SOME_FAILED)


def _recordings(given: Iterable[Path]) -> Iterator[Path]:
    """Files as they are; of folders every recording below them, sorted."""
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


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.transcribe`."""
    parser = cli.parser(
        "transcribe",
        "Print what a trained model hears. Without --checkpoint or --study: the newest study's "
        "confirm run with the lowest valid WER. A recording that cannot be read is named on "
        "stderr, the others are transcribed all the same, and the exit code is 1.",
        "recording.wav",
        "--study STUDY a.flac b.flac FOLDER",
        "call.wav --offset 12.5 --duration 3",
    )
    parser.add_argument(
        "audio",
        nargs="+",
        type=Path,
        help="WAV, FLAC, OGG, MP3, SPH or RAW, or a folder that is searched for them",
    )
    cli.add_checkpoint(parser)
    parser.add_argument(
        "--channel", type=int, help="the channel to use of stereo recordings (0, 1)"
    )
    parser.add_argument(
        "--offset", type=float, metavar="SECONDS", help="where to begin in each recording"
    )
    parser.add_argument(
        "--duration", type=float, metavar="SECONDS", help="how much to read (default: to the end)"
    )
    cli.add_device(parser)
    return parser


if __name__ == "__main__":
    cli.run(build_parser(), main)
