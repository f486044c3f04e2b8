"""The flags of `python -m bench.transcribe`."""

import argparse
from pathlib import Path

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.transcribe`."""
    parser = cli.parser(
        "transcribe",
        "Transcribe recordings with a trained model. Without --checkpoint or --study, the confirm "
        "run of the newest study with the lowest valid WER is used. A recording that cannot be "
        "read is an error on stderr; the others are transcribed, and the exit code is 1.",
        "recording.wav",
        "--study STUDY a.flac b.flac FOLDER",
        "call.wav --offset 12.5 --duration 3",
    )
    parser.add_argument(
        "audio",
        nargs="+",
        type=Path,
        help="WAV, FLAC, OGG, MP3, SPH or RAW files, or folders that are searched for them",
    )
    cli.add_checkpoint(parser)
    cli.add_channel(parser)
    parser.add_argument(
        "--offset",
        type=cli.real_number("--offset", least=0),
        metavar="SECONDS",
        help="start of the part to transcribe (default: 0)",
    )
    parser.add_argument(
        "--duration",
        type=cli.real_number("--duration", above=0),
        metavar="SECONDS",
        help="length of the part to transcribe (default: to the end)",
    )
    cli.add_decoder(parser, weights=True)
    cli.add_device(parser)
    return parser
