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
        "read is an error on stderr; the others are transcribed, and the exit code is 1. With "
        "--stream, audio is transcribed while it arrives: partial texts on stderr, final ones on "
        "stdout.",
        "recording.wav",
        "--study STUDY a.flac b.flac FOLDER",
        "call.wav --offset 12.5 --duration 3",
        "--stream - < samples.raw",
    )
    parser.add_argument(
        "audio",
        nargs="*",
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
    _add_stream(parser)
    return parser


def _add_stream(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stream",
        metavar="FILE|-",
        help="transcribe a recording, or 16-bit little-endian mono samples from a pipe (-), "
        "as they arrive: arecord -f S16_LE -r 16000 | python -m bench.transcribe --stream -",
    )
    parser.add_argument(
        "--rate",
        type=cli.whole_number("--rate", least=1_000, most=768_000),
        metavar="HZ",
        help="samples per second in the pipe; converted if the network was trained on another "
        "(default: as trained)",
    )
    parser.add_argument(
        "--endpoint",
        type=cli.real_number("--endpoint", above=0),
        default=0.8,
        metavar="SECONDS",
        help="a text is final after so long without a symbol (default: 0.8)",
    )
    parser.add_argument(
        "--chunk",
        type=cli.real_number("--chunk", above=0, most=60),
        default=0.1,
        metavar="SECONDS",
        help="audio read at a time (default: 0.1)",
    )
