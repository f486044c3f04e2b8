"""Check a corpus (sizes, faults, suspicious utterances) or a variant (its contract)."""

from bench.core import cli
from bench.flags.check import build_parser

if __name__ == "__main__":
    cli.start("check", build_parser())  # before the imports below: they take seconds

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from bench.core.config import parse_settings
from bench.core.console import STDOUT, counting, print_error
from bench.core.errors import UserError
from bench.data.corpora import list_corpus, parse_corpus
from bench.data.corpora.inspection import Inspection, inspect
from bench.data.corpora.validate import MAX_LISTED, some, survey

EXIT_UNUSABLE = 1
_MARKS = {True: "ok", False: "BROKEN", None: "-"}


def main(options: argparse.Namespace) -> None:
    """Check the corpus or the variant that `options` name."""
    if (options.corpus is None) == (options.variant is None):
        given = "neither" if options.corpus is None else "both"
        raise UserError(f"a check needs --corpus NAME[:PATH] or --variant V, got {given}; give one")
    if options.variant is None:
        if options.settings:
            raise UserError("--set goes with --variant, got --corpus; leave it out")
        _check_corpus(options)
    else:
        for name in ("channel", "columns"):
            if getattr(options, name) is not None:
                raise UserError(f"--{name} goes with --corpus, got --variant; leave it out")
        _check_variant(options)


def _check_variant(options: argparse.Namespace) -> None:
    """Print a row for each rule of the contract; exit with 1 if one is broken."""
    # Here, not at the top: a corpus is checked without torch, which takes seconds.
    from bench.study.layers import resolve_run, set_layer
    from bench.training.contract import check_contract
    from bench.training.outside import find_variant

    variant = find_variant(options.variant)
    config = resolve_run(variant, [set_layer(parse_settings(options.settings))]).config
    rows = check_contract(config)
    if options.json:
        cli.print_json({"variant": variant, "rules": [asdict(row) for row in rows]})
    else:
        STDOUT.print(f"{options.variant} ({variant})", markup=False)
        for row in rows:
            STDOUT.print(f"{row.rule:<18}{_MARKS[row.holds]:<8}{row.found}", markup=False)
    broken = [f"{row.rule}: {row.found}" for row in rows if row.holds is False]
    if broken:
        print_error(f"{options.variant} breaks the contract: {'; '.join(broken)}")
        sys.exit(EXIT_UNUSABLE)


def _check_corpus(options: argparse.Namespace) -> None:
    """Print counts, utterances that would be left out, suspicious ones, and a few examples."""
    config = parse_corpus(options.corpus, channel=options.channel, columns=options.columns)
    with counting(f"corpus {config.title}") as progress:
        listing = list_corpus(config, progress=progress)
        findings = survey(listing, config, progress)
    found = inspect(findings, listing, config)
    if options.json:
        cli.print_json(_as_json(found))
    else:
        for line in _lines(found, options.corpus):
            STDOUT.print(line, markup=False)
    if not found.corpus.utterances:
        print_error(f"no utterance of {options.corpus} can be used")
        sys.exit(EXIT_UNUSABLE)


def _as_json(found: Inspection) -> dict[str, object]:
    return {
        "corpus": found.corpus.name,
        "digest": found.corpus.digest,
        "splits": {split: asdict(size) for split, size in found.splits.items()},
        "symbols": found.symbols,
        "left_out": {reason: len(ids) for reason, ids in found.left_out.items()},
        "faults": found.faults,
        "suspicious": found.suspicious,
        "notes": list(found.corpus.notes),
        "examples": [
            {"id": u.id, "split": u.split, "speaker": u.speaker, "seconds": u.seconds,
             "audio": str(u.audio), "text": u.text, "attributes": dict(u.attributes)}
            for u in found.examples
        ],
    }  # fmt: skip


def _lines(found: Inspection, given: str) -> Iterator[str]:
    yield f"{given}, digest {found.corpus.digest}"
    yield f"{'split':<8}{'utterances':>12}{'speakers':>10}{'minutes':>10}{'words':>10}"
    for split, size in found.splits.items():
        yield (f"{split:<8}{size.utterances:>12,}{size.speakers:>10,}{size.seconds / 60:>10.1f}"
               f"{size.words:>10,}")  # fmt: skip
    if found.symbols:
        counts = ", ".join(f"{symbol!r} {count:,}" for symbol, count in found.symbols.items())
        yield ""
        yield (f"symbols outside the alphabet, in {found.num_with_symbols:,} utterances "
               f"(--text drop leaves them out): {counts}")  # fmt: skip
    if found.faults:
        yield ""
        yield (f"recordings that cannot be used, {len(found.faults):,} utterances "
               "(--audio drop leaves them out):")  # fmt: skip
        yield from _faults(found.faults)
    yield from _reasons("left out", found.left_out)
    yield from _reasons("suspicious", found.suspicious)
    if found.corpus.notes:
        yield ""
        yield from (f"note: {note}" for note in found.corpus.notes)
    for utterance in found.examples:
        yield ""
        yield (f"{utterance.id} ({utterance.split}, speaker {utterance.speaker}, "
               f"{utterance.seconds:.2f} s)")  # fmt: skip
        yield f"    {utterance.text}"


def _faults(faults: Mapping[str, str]) -> Iterator[str]:
    for id, fault in list(faults.items())[:MAX_LISTED]:
        yield f"  {id}: {fault}"
    if len(faults) > MAX_LISTED:
        yield f"  and {len(faults) - MAX_LISTED:,} more"


def _reasons(title: str, reasons: Mapping[str, list[str]]) -> Iterator[str]:
    yield ""
    yield f"{title}: nothing" if not reasons else f"{title}:"
    for reason, ids in reasons.items():
        yield f"  {len(ids):>7,}  {reason}: {some(ids)}"
