"""The flags of `python -m bench.transcribe`."""

import argparse
from pathlib import Path

from bench.core import cli


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
    cli.add_channel(parser)
    parser.add_argument(
        "--offset",
        type=cli.real_number("--offset", least=0),
        metavar="SECONDS",
        help="where to begin in each recording",
    )
    parser.add_argument(
        "--duration",
        type=cli.real_number("--duration", above=0),
        metavar="SECONDS",
        help="how much to read (default: to the end)",
    )
    cli.add_device(parser)
    return parser
