"""The flags of `python -m bench.watch`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.watch`."""
    parser = cli.parser(
        "watch",
        "Show the progress of a study, updated once a second until it ends or Ctrl-C: slots and "
        "their states, best WERs, runs in progress, time left. Reads only, so that any number of "
        "processes may watch a study.",
        "",
        "STUDY --once",
    )
    parser.add_argument(
        "study", nargs="?", metavar="STUDY", help="name or folder (default: the newest)"
    )
    parser.add_argument("--once", action="store_true", help="print the current state and exit")
    return parser
