"""The flags of `python -m bench.evaluate`."""

import argparse

from bench.core import cli
from bench.data.utterance import SPLITS


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.evaluate`."""
    parser = cli.parser(
        "evaluate",
        "Score a checkpoint on a split. A study scores its test split itself, once per seed; do "
        "not use this command to choose checkpoints by their test scores.",
        "--checkpoint out/STUDY/runs/ds-gru/confirm-0/checkpoints/best.pt --split valid",
    )
    cli.add_checkpoint(parser)
    cli.add_corpus(parser, default=None)
    parser.add_argument("--split", choices=SPLITS, default="valid", help="default: valid")
    cli.add_device(parser)
    return parser
