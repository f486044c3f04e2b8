"""The flags of `python -m bench.replay`."""

import argparse
from pathlib import Path

from bench.core import cli

MAX_SIMULATED = 1_000_000


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.replay`."""
    parser = cli.parser(
        "replay",
        "Simulate searches over recorded learning curves to compare samplers and pruners with "
        "random search. A study with --budget record records the curves.",
        "STUDY --save curves.jsonl",
        "sweeps/curves/spoken.ds-gru.jsonl --trials 24",
        "sweeps/curves/spoken.ds-gru.jsonl --schedules --markdown",
    )
    parser.add_argument("curves", metavar="STUDY|FILE", help="a study, or a file that --save wrote")
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="write the curves to FILE as JSON lines"
    )
    for flag, default, least, what in (
        ("--trials", 24, 2, "trials of a study"),
        ("--studies", 100, 5, "studies to simulate"),
    ):
        number = cli.whole_number(flag, least=least, most=MAX_SIMULATED)
        parser.add_argument(flag, type=number, default=default, help=f"{what} (default: {default})")
    parser.add_argument(
        "--budget", default="standard", help="sampler and pruner settings (default: standard)"
    )
    parser.add_argument(
        "--schedules",
        action="store_true",
        help="instead of samplers and pruners, schedules of successive halving whose trials go on "
        "from where they are",
    )
    parser.add_argument(
        "--proxy",
        type=Path,
        metavar="FILE",
        help="with --schedules: curves of the same settings at a smaller size; prints how well "
        "they rank them",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="with --schedules: the page in docs/results/"
    )
    cli.add_seed(parser)
    return parser
