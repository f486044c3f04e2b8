"""The flags of `python -m bench.speed`."""

import argparse
from pathlib import Path

from bench.core import cli

MAX_UTTERANCE_SECONDS = 30.0
"""The longest utterance that a corpus may have."""


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.speed`."""
    parser = cli.parser(
        "speed",
        "Measure training and recognition on this device. Training alternates with two baselines "
        "that train the same network: family (audio read and transformed in every epoch, batches "
        "shuffled, sequences packed, metrics sent one at a time) and torch (cached features, "
        "batches of similar length, torch's own layers).",
        "--variant ds-gru --width 128 --width 512",
        "--utterance-seconds 12 --set batches.batch_seconds=200",
        "--latency --study NAME",
        "--json",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="V",
        help="may be repeated (default: each cell in each direction of the first family)",
    )
    parser.add_argument(
        "--width",
        action="append",
        default=[],
        type=cli.whole_number("--width", least=1),
        metavar="W",
        help="model.width; may be repeated (default: each variant's own)",
    )
    cli.add_corpus(parser)
    parser.add_argument(
        "--utterance-seconds",
        type=cli.real_number("--utterance-seconds", above=0, most=MAX_UTTERANCE_SECONDS),
        metavar="S",
        help="concatenate utterances to at least S seconds, since costs depend on their length; "
        "LibriSpeech's mean is 12 (default: as they are)",
    )
    parser.add_argument(
        "--minutes",
        type=cli.real_number("--minutes", above=0),
        default=60.0,
        help="training audio used at most, with all lengths of the corpus; valid in proportion. "
        "Less audio makes epochs shorter and the share of checkpoints larger (default: 60)",
    )
    parser.add_argument(
        "--seconds",
        type=cli.real_number("--seconds", above=0),
        default=3.0,
        help="training time of each system in a round (default: 3)",
    )
    parser.add_argument(
        "--rounds",
        type=cli.whole_number("--rounds", least=1),
        default=5,
        help="rounds, after one to warm up (default: 5)",
    )
    cli.add_settings(parser)
    cli.add_device(parser)
    _add_latency(parser)
    parser.add_argument(
        "--survey",
        action="store_true",
        help="measure a GPU in parts, in under ten minutes: numerics, shapes, CTC, recurrences, "
        "captured steps, whole steps, workers under MPS, precision; of the other flags it reads "
        "--json and --dry-run",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="with --survey: a tiny version of each part on the CPU, to see that each runs; the "
        "numbers mean nothing",
    )
    return parser


def _add_latency(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--latency",
        action="store_true",
        help="measure instead what a user of the confirm runs of --study waits for, on utterances "
        "of its valid split: look-ahead, computing on one core, emission, finalisation, and how "
        "many shown words change",
    )
    parser.add_argument(
        "--study", metavar="NAME", help="a study or its folder (default: the newest study)"
    )
    parser.add_argument(
        "--aligner",
        type=Path,
        metavar="FILE",
        help="the checkpoint whose forced alignment says when words end; its own emission is not "
        "measured (default: the study's best confirm run of those that cannot stream)",
    )
    parser.add_argument(
        "--utterances",
        type=cli.whole_number("--utterances", least=1),
        default=50,
        metavar="N",
        help="valid utterances to recognise, evenly spaced (default: 50)",
    )
