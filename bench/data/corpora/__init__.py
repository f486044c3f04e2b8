"""Corpora: one reader a file, one table of them, one validation for all."""

from collections.abc import Collection
from dataclasses import replace

from bench.core.config import from_dict
from bench.core.console import ProgressCallback
from bench.core.lookup import look_up
from bench.data.corpora.an4 import AN4, AN4_ALL, AN4_DEV
from bench.data.corpora.commonvoice import COMMON_VOICE
from bench.data.corpora.huggingface import HUGGING_FACE
from bench.data.corpora.joined import joined, split_joined
from bench.data.corpora.kaldi import KALDI
from bench.data.corpora.lhotse_cuts import LHOTSE
from bench.data.corpora.librispeech import LIBRISPEECH
from bench.data.corpora.manifest import MANIFEST
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing
from bench.data.corpora.spoken import SPOKEN, SPOKEN_TINY
from bench.data.corpora.validate import require_splits, validate
from bench.data.utterance import SPLITS, Corpus

__all__ = [
    "CORPORA", "CorpusConfig", "CorpusSpec", "list_corpus", "load_corpus", "parse_corpus",
    "require_splits",
]  # fmt: skip

CORPORA: dict[str, CorpusSpec] = {
    spec.name: spec
    for spec in (
        SPOKEN, SPOKEN_TINY, AN4, AN4_DEV, AN4_ALL, LIBRISPEECH, MANIFEST, COMMON_VOICE, KALDI,
        HUGGING_FACE, LHOTSE,
    )
}  # fmt: skip


def parse_corpus(given: str, **others: str | int | None) -> CorpusConfig:
    """The config of ``--corpus NAME[:PATH][+NAME[:PATH]…]``, with `others` of its fields, which
    apply to each of them.

    Raises:
        UserError: an unknown name, one corpus twice, a value out of range.
    """
    first, *added = (CorpusConfig.parse(part) for part in split_joined(given, CORPORA))
    look_up(CORPORA, first.name, "corpus")
    further = tuple(config.first for config in added)
    return from_dict(
        CorpusConfig, {"name": first.name, "path": first.path, "added": further} | others
    )


def list_corpus(
    config: CorpusConfig,
    splits: Collection[str] = SPLITS,
    progress: ProgressCallback | None = None,
) -> Listing:
    """What the readers of the corpus or joined corpora `config` list of `splits`, nothing checked.

    Raises:
        UserError: unknown corpus, or as CorpusSpec.listing.
    """
    specs = [look_up(CORPORA, part.name, "corpus") for part in config.parts.values()]
    tables = [spec for spec in specs if spec.has_columns]
    listings: dict[str, Listing] = {}
    for spec, (label, part) in zip(specs, config.parts.items(), strict=True):
        if listings and "train" not in splits:
            break  # others add nothing else
        if tables and not spec.has_columns:
            part = replace(part, columns=None)
        listing = spec.listing(part, progress)
        rows = tuple(row for row in listing.rows if row.split in splits)
        listings[label] = replace(listing, rows=rows)
    return joined(listings) if config.added else listings[config.name]


def load_corpus(
    config: CorpusConfig,
    *,
    splits: Collection[str] = SPLITS,
    progress: ProgressCallback | None = None,
) -> Corpus:
    """The validated corpus that `config` names, or its `splits`; synthesised or unpacked first if
    necessary. `progress` is of either, in utterances.

    Raises:
        UserError: unknown corpus, or faults in it that the user must correct.
    """
    return validate(list_corpus(config, splits, progress), config, progress)
