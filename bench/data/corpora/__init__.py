"""Corpora: one reader a file, one table of them, one validation for all."""

from collections.abc import Collection
from dataclasses import replace

from bench.core.console import ProgressCallback
from bench.core.lookup import look_up
from bench.data.corpora.an4 import AN4, AN4_ALL, AN4_DEV
from bench.data.corpora.commonvoice import COMMON_VOICE
from bench.data.corpora.huggingface import HUGGING_FACE
from bench.data.corpora.kaldi import KALDI
from bench.data.corpora.lhotse_cuts import LHOTSE
from bench.data.corpora.librispeech import LIBRISPEECH
from bench.data.corpora.manifest import MANIFEST
from bench.data.corpora.spec import CorpusConfig, CorpusSpec
from bench.data.corpora.spoken import SPOKEN, SPOKEN_TINY
from bench.data.corpora.validate import require_splits, validate
from bench.data.utterance import Corpus

__all__ = ["CORPORA", "CorpusConfig", "CorpusSpec", "load_corpus", "require_splits"]

CORPORA: dict[str, CorpusSpec] = {
    spec.name: spec
    for spec in (
        SPOKEN, SPOKEN_TINY, AN4, AN4_DEV, AN4_ALL, LIBRISPEECH, MANIFEST, COMMON_VOICE, KALDI,
        HUGGING_FACE, LHOTSE,
    )
}  # fmt: skip


def load_corpus(
    config: CorpusConfig,
    *,
    splits: Collection[str] | None = None,
    progress: ProgressCallback | None = None,
) -> Corpus:
    """The validated corpus that `config` names, or its `splits`; synthesised or unpacked first if
    necessary. `progress` is of either, in utterances.

    Raises:
        UserError: unknown corpus, or faults in it that the user must correct.
    """
    spec = look_up(CORPORA, config.name, "corpus")
    listing = spec.listing(config, progress)
    if splits is not None:
        listing = replace(listing, rows=tuple(r for r in listing.rows if r.split in splits))
    return validate(listing, config, progress)
