"""The cache of checked recordings."""

from pathlib import Path

import pytest

from bench.core.errors import UnwritableError
from bench.data.examination import ExaminationCache, Part, examine
from bench.data.utterance import Corpus


def test_a_cache_that_cannot_be_written_names_its_variable(
    tone_corpus: Corpus, tmp_path: Path
) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    part = Part(tone_corpus.utterances[0].audio, None, None)
    with pytest.raises(UnwritableError, match=r"cannot be written .*set BENCH_CACHE"):
        examine([part], ExaminationCache(blocker / "checked.json"))
