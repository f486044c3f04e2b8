"""The corpus of tones as a table that commands read."""

import json
from collections.abc import Collection
from pathlib import Path

from bench.data.utterance import SPLITS, Corpus


def write_table(corpus: Corpus, path: Path, splits: Collection[str] = SPLITS) -> str:
    """Write the utterances of `splits` to `path`; returns what ``--corpus`` takes."""
    rows = [
        {
            "id": u.id, "audio_filepath": str(u.audio), "duration": u.seconds, "text": u.text,
            "speaker": u.speaker, "split": u.split,
        }
        for u in corpus.utterances
        if u.split in splits
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"manifest:{path}"
