"""The flags of `python -m bench.transcribe`."""

import argparse
from pathlib import Path

from bench.core import cli


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
    parser.add_argument(
        "--channel", type=int, help="the channel to use of stereo recordings (0, 1)"
    )
    cli.add_device(parser)
    return parser
