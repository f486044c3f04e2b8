"""The flags of `python -m bench.sync`."""

import argparse

from bench.core import cli


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.sync`."""
    parser = cli.parser(
        "sync",
        "Upload to MLflow the records in out/ that it does not have yet: after its server was "
        "unreachable, or to another server (MLFLOW_TRACKING_URI).",
        "",
        "STUDY",
    )
    parser.add_argument("study", nargs="*", help="names or folders (default: every study)")
    return parser
