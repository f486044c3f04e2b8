"""The flags of `python -m bench.replay`."""

import argparse
from pathlib import Path

from bench.core import cli

MAX_SIMULATED = 1_000_000


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.replay`."""
    parser = cli.parser(
        "replay",
        "Simulate many searches over recorded learning curves: what the sampler and the pruner "
        "buy. Curves are recorded by a study of --budget record.",
        "STUDY --save curves.jsonl",
        "sweeps/curves/spoken.ds-gru.jsonl --trials 24",
    )
    parser.add_argument("curves", metavar="STUDY|FILE", help="a study, or a file that --save wrote")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the curves, JSON lines")
    for flag, default, least, what in (
        ("--trials", 24, 2, "of a study"),
        ("--studies", 100, 5, "to simulate"),
    ):
        number = cli.whole_number(flag, least=least, most=MAX_SIMULATED)
        parser.add_argument(flag, type=number, default=default, help=f"{what} (default: {default})")
    parser.add_argument("--budget", default="standard", help="default: standard")
    cli.add_seed(parser)
    return parser
