"""Turn recordings into text with a trained checkpoint."""

import argparse
from pathlib import Path

from bench.core import cli
from bench.core.console import STDOUT
from bench.results.checkpoints import find_checkpoint
from bench.training.checkpoint import load_model, load_stats
from bench.training.device import resolve_device
from bench.training.evaluate import transcribe


def main(options: argparse.Namespace) -> None:
    """Print one line of text per recording."""
    device = resolve_device(options.device)
    checkpoint = find_checkpoint(options.checkpoint, options.study)
    model, config = load_model(checkpoint, device)
    stats = load_stats(checkpoint)
    rows = [
        {
            "audio": str(path),
            "text": transcribe(model, config, path, device, options.channel, stats),
        }
        for path in options.audio
    ]
    if options.json:
        cli.print_json(rows)
        return
    for row in rows:
        prefix = f"{row['audio']}\t" if len(rows) > 1 else ""
        STDOUT.print(prefix + row["text"], markup=False)


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.transcribe`."""
    parser = cli.parser(
        "transcribe",
        "Print what a trained model hears. Without --checkpoint or --study: the newest study's "
        "confirm run with the lowest valid WER.",
        "recording.wav",
        "--study STUDY a.flac b.flac",
    )
    parser.add_argument("audio", nargs="+", type=Path, help="WAV, FLAC, OGG, MP3, SPH or RAW")
    cli.add_checkpoint(parser)
    cli.add_channel(parser)
    cli.add_device(parser)
    return parser


if __name__ == "__main__":
    cli.run(build_parser(), main)
