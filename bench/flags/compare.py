"""The flags of `python -m bench.compare`."""

import argparse
from pathlib import Path

from bench.core import cli

MAX_MARGIN = 99.0


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.compare`."""
    parser = cli.parser(
        "compare",
        "Compare systems on the same test utterances. SYSTEM is a study (all its systems), a run "
        "(its folder or its MLflow run id), JSON lines of any recogniser (text, pred_text), a trn "
        "file, or a comparison saved by --save.",
        "out/cells.an4.quick.1a2b3c4d",
        "ours.jsonl theirs.jsonl --markdown",
        "--ref ref.trn a.trn b.trn",
    )
    parser.add_argument("systems", nargs="+", metavar="SYSTEM", help="two systems, or a study")
    parser.add_argument(
        "--ref", type=Path, metavar="TRN", help="the references, for systems that are trn files"
    )
    parser.add_argument(
        "--common",
        action="store_true",
        help="compare only the utterances that all systems have; prints how many are left out",
    )
    parser.add_argument(
        "--match-by",
        choices=("id", "name"),
        default="id",
        help="match utterances by id, or by name: the id without the folders before it "
        "(default: id)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="compare systems that differ in data, budget or scoring too; marked NOT COMPARABLE",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="save the comparison to a small file that this command can read; words are replaced "
        "by numbers",
    )
    form = parser.add_mutually_exclusive_group()
    for name in ("csv", "markdown", "latex"):
        form.add_argument(f"--{name}", action="store_const", const=name, dest="form")
    parser.add_argument(
        "--margin",
        type=cli.real_number("--margin", above=0, most=MAX_MARGIN),
        metavar="POINTS",
        help="WER difference below which systems count as equivalent (default: that of their "
        "study, or 2)",
    )
    parser.add_argument(
        "--by",
        metavar="ATTRIBUTE",
        help="rates by groups too, and whether a difference is another in some: length, snr "
        "(estimated from the audio), or what corpus or file says of utterances and speakers "
        "(gender, age, accent, …)",
    )
    cli.add_seed(parser, "of the bootstrap, for test sets of fewer than ten speakers")
    return parser
