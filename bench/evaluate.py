"""Score a checkpoint on a split of a corpus."""

from bench.core import cli
from bench.flags.evaluate import build_parser

if __name__ == "__main__":
    cli.start("evaluate", build_parser())  # before the imports below: they take seconds

import argparse
from dataclasses import asdict

from bench.core.console import STDOUT, counting
from bench.core.errors import UserError
from bench.data.batches import Dataset
from bench.data.corpora import CorpusConfig, load_corpus
from bench.data.store import open_store
from bench.results.checkpoints import find_checkpoint
from bench.training.checkpoint import load_model, load_stats
from bench.training.device import resolve_device
from bench.training.evaluate import evaluate


def main(options: argparse.Namespace) -> None:
    """Print error rates and counts."""
    device = resolve_device(options.device)
    checkpoint = find_checkpoint(options.checkpoint, options.study)
    model, config = load_model(checkpoint, device)
    corpus_config = config.corpus
    if options.corpus is not None:
        corpus_config = CorpusConfig.parse(
            options.corpus, text=options.text, audio=options.audio, channel=options.channel
        )
    with counting("corpus") as progress:
        corpus = load_corpus(corpus_config, splits=(options.split,), progress=progress)
    if not corpus.utterances:
        raise UserError(
            f"split {options.split!r} of {corpus.name} is empty; choose another --split"
        )
    stats = load_stats(checkpoint)
    with counting("features") as progress:
        store = open_store(corpus, config.features, stats=stats, progress=progress)
    dataset = Dataset(corpus.utterances, store)
    evaluation = evaluate(model, dataset, config.batches, device)
    totals = evaluation.totals
    result = {
        "checkpoint": str(checkpoint),
        "corpus": corpus.name,
        "split": options.split,
        **asdict(totals),
        "loss": evaluation.loss,
        "utterances": [asdict(score) for score in evaluation.scores],
    }
    if options.json:
        cli.print_json(result)
        return
    STDOUT.print(
        f"{corpus.name} {options.split}: "
        f"WER {100 * totals.wer:.2f} %, CER {100 * totals.cer:.2f} %\n"
        f"{totals.substitutions} substitutions, {totals.deletions} deletions, "
        f"{totals.insertions} insertions of {totals.num_ref_words} words "
        f"in {totals.num_utterances} utterances\n{checkpoint}",
        markup=False,
    )
