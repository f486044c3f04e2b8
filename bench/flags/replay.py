"""The flags of `python -m bench.replay`."""

import argparse
from pathlib import Path

from bench.core import cli


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
    parser.add_argument("--trials", type=int, default=24, help="of a study (default: 24)")
    parser.add_argument("--studies", type=int, default=100, help="to simulate (default: 100)")
    parser.add_argument("--budget", default="standard", help="default: standard")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    return parser
