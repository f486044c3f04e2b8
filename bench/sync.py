"""Upload records in out/ that MLflow does not have yet."""

from bench.core import cli
from bench.flags.sync import build_parser

if __name__ == "__main__":
    cli.start("sync", build_parser())  # before the imports below: they take seconds

import argparse

from bench.core.console import STDOUT
from bench.core.errors import TemporaryError
from bench.core.paths import OUT, SINGLE_RUNS
from bench.results.progress import ProgressReader
from bench.results.publish import publish
from bench.results.report_input import gather
from bench.results.study import chosen_studies
from bench.runs import StudyTracker, display_uri, flush_unsent
from bench.study.definition import load


def main(options: argparse.Namespace) -> None:
    """Upload the runs of the studies, and the summaries of the studies that have ended."""
    folders = chosen_studies(options.study, "send", may_be_none=SINGLE_RUNS.exists())
    num_left = 0 if options.study else flush_unsent(SINGLE_RUNS)
    for folder in folders:
        num_left += flush_unsent(folder)
        if ProgressReader(folder).read().is_over:
            report_input, comparison = gather(folder, audio=False)
            tracker = StudyTracker.open(folder.name, data_digest=load(folder).data_digest)
            publish(tracker, folder, report_input, comparison)
            num_left += tracker.num_unsent
    result = {"studies": [folder.name for folder in folders], "tracking_uri": display_uri()}
    if num_left:
        raise TemporaryError(
            f"{num_left} records could not be uploaded to {display_uri()}; they stay in {OUT}/, "
            "and the same command tries again"
        )
    if options.json:
        cli.print_json(result)
        return
    STDOUT.print(f"{display_uri()} has all of {len(folders)} studies", markup=False)
