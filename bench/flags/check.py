"""The flags of `python -m bench.check`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.check`."""
    parser = cli.parser(
        "check",
        "Decode every recording of a corpus and print utterances, speakers, minutes and words of "
        "each split, symbols outside the alphabet, the utterances that would be left out and why, "
        "suspicious utterances, and three examples. Faults are listed, not errors; the exit code "
        "is 1 if no utterance can be used.",
        "--corpus spoken",
        "--corpus manifest:data/train.jsonl --json",
    )
    cli.add_corpus_place(parser, None, "required")
    return parser
