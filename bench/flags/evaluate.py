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
    cli.add_decoder(parser, weights=True)
    parser.add_argument(
        "--nbest",
        type=cli.whole_number("--nbest", least=1, most=1000),
        metavar="N",
        help="with --decoder beam: print the N best texts of each utterance with their scores, as "
        "JSON lines, and the WER of the best among them",
    )
    cli.add_device(parser)
    return parser
