"""Score a checkpoint on a split of a corpus."""

from bench.core import cli
from bench.flags.evaluate import build_parser

if __name__ == "__main__":
    cli.start("evaluate", build_parser())  # before the imports below: they take seconds

import argparse
import json
from dataclasses import asdict

from bench.core.console import STDERR, STDOUT, counting
from bench.core.errors import UserError
from bench.data.batches import Dataset
from bench.data.corpora import load_corpus
from bench.data.store import open_store
from bench.decoding import greedy
from bench.decoding.beam import BeamSearch
from bench.results.study import TrainedModel, find_checkpoint
from bench.study.request import corpus_of, decoder_of
from bench.training.evaluate import evaluate, log_probabilities, score_texts


def main(options: argparse.Namespace) -> None:
    """Print error rates and counts."""
    checkpoint = find_checkpoint(options.checkpoint, options.study)
    trained = TrainedModel.load(checkpoint, options.device)
    model, config, device = trained.network, trained.config, trained.device
    corpus_config = config.corpus
    if options.corpus is not None:
        corpus_config = corpus_of(options, options.corpus)
    with counting("corpus") as progress:
        corpus = load_corpus(corpus_config, splits=(options.split,), progress=progress)
    if not corpus.utterances:
        raise UserError(
            f"split {options.split!r} of {corpus.name} is empty; choose another --split"
        )
    with counting("features") as progress:
        store = open_store(corpus, config.features, stats=trained.stats, progress=progress)
    dataset = Dataset(corpus.utterances, store, trained.units)
    search = decoder_of(options, checkpoint, config)
    if search is not None and options.nbest is not None:
        _print_nbest(search, dataset, trained, options)
        return
    evaluation = evaluate(model, dataset, config.batches, device, search or greedy)
    totals = evaluation.totals
    result = {
        "checkpoint": str(checkpoint),
        "corpus": corpus.name,
        "split": options.split,
        "decoder": options.decoder or "greedy",
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


def _print_nbest(
    search: BeamSearch,
    dataset: Dataset,
    trained: TrainedModel,
    options: argparse.Namespace,
) -> None:
    """Print a JSON object an utterance: its reference, and its best texts with their scores and
    word errors; then on stderr the WER of the first and of the best of each list (oracle)."""
    firsts, oracles = [], []
    rows = log_probabilities(trained.network, dataset, trained.config.batches, trained.device)
    for utterance, row_UV in zip(dataset.utterances, rows, strict=True):
        found = search.nbest(row_UV, options.nbest, trained.units)
        single = Dataset([utterance] * len(found), dataset.store, dataset.units)
        scores = score_texts(single, [each.text for each in found])
        errors = [s.substitutions + s.deletions + s.insertions for s in scores]
        ranked = [{**asdict(h), "errors": e} for h, e in zip(found, errors, strict=True)]
        print(json.dumps({"id": utterance.id, "ref": utterance.text, "nbest": ranked}))
        # A beam never ends empty: the last frame always has a way to go.
        firsts.append(errors[0])
        oracles.append(min(errors))
    words = max(1, sum(len(utterance.text.split()) for utterance in dataset.utterances))
    STDERR.print(
        f"{options.split}: WER {100 * sum(firsts) / words:.2f} %, of the best of "
        f"{options.nbest} {100 * sum(oracles) / words:.2f} % (oracle)",
        markup=False,
        highlight=False,
    )
