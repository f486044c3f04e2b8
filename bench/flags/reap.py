"""The flags of `python -m bench.reap`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.reap`."""
    parser = cli.parser(
        "reap",
        "Close runs whose process has died and that no other process has resumed: the records and "
        "MLflow get state killed, the queue state waiting. Running the sweep again does the same "
        "and resumes them.",
        "",
        "STUDY --wait 90",
    )
    parser.add_argument("study", nargs="*", help="names or folders (default: every study)")
    parser.add_argument("--storage", metavar="URL", help="the queue, as for bench.sweep")
    parser.add_argument(
        "--wait",
        type=cli.real_number("--wait", least=0),
        default=0.0,
        metavar="SECONDS",
        help="wait for a heartbeat of runs on other machines (default: 0)",
    )
    return parser
