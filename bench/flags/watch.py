"""The flags of `python -m bench.watch`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.watch`."""
    parser = cli.parser(
        "watch",
        "Show a study in progress, once a second until it ends or Ctrl-C: slots and their states, "
        "the best so far, the runs in progress, the time left. Only reads; any number may watch.",
        "",
        "STUDY --once",
    )
    parser.add_argument(
        "study", nargs="?", metavar="STUDY", help="name or folder (default: the newest)"
    )
    parser.add_argument("--once", action="store_true", help="print how it stands now, and leave")
    return parser
