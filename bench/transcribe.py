"""Turn recordings into text with a trained checkpoint."""

from bench.core import cli
from bench.flags.transcribe import build_parser

if __name__ == "__main__":
    cli.start("transcribe", build_parser())  # before the imports below: they take seconds

import argparse

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
