"""Write the HTML report of studies anew from their records."""

from bench.core import cli
from bench.flags.report import build_parser

if __name__ == "__main__":
    cli.start("report", build_parser())  # before the imports below: they take seconds

import argparse
from dataclasses import asdict, dataclass

from bench.core.console import STDOUT
from bench.results.index import write_index
from bench.results.report_input import REPORT_FILE, gather
from bench.results.study import chosen_studies
from reports.build import build
from reports.sections.verdict import cautions


@dataclass(frozen=True, kw_only=True)
class _Written:
    study: str
    report: str
    verdict: str
    cautions: tuple[str, ...]


def main(options: argparse.Namespace) -> None:
    """Write the reports and print their paths."""
    written: list[_Written] = []
    for folder in chosen_studies(options.study, "report on"):
        report_input, comparison = gather(folder, audio=options.recordings)
        report = build(report_input, folder / REPORT_FILE)
        written.append(
            _Written(
                study=folder.name,
                report=str(report),
                verdict=comparison.verdict,
                cautions=cautions(report_input),
            )
        )
    index = write_index()
    if options.json:
        cli.print_json([asdict(row) for row in written])
        return
    for row in written:
        STDOUT.print("\n".join([row.verdict, *row.cautions, row.report]), markup=False)
    STDOUT.print(f"every study: {index}", markup=False)
