"""The flags of `python -m bench.check`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.check`."""
    parser = cli.parser(
        "check",
        "Of a corpus: decode every recording and print utterances, speakers, minutes and words of "
        "each split, symbols outside the alphabet, the utterances that would be left out and why, "
        "suspicious utterances, and three examples. Faults are listed, not errors; the exit code "
        "is 1 if no utterance can be used. Of a variant: check what a study relies on (lengths, "
        "padding, gradients, JSON, determinism, overfitting one batch); the exit code is 1 if a "
        "rule is broken.",
        "--corpus spoken",
        "--corpus manifest:data/train.jsonl --json",
        "--variant path/to/mine.py:NAME",
    )
    cli.add_corpus_place(parser, None, "or give --variant")
    parser.add_argument(
        "--variant", metavar="V", help="a variant, FILE.py:NAME for one of your own (see bench.ls)"
    )
    cli.add_set(parser)
    return parser
