"""The output symbols of a network: letters, or pieces of words.

Pieces are made by byte-pair encoding (Sennrich et al. 2016, Neural Machine Translation of Rare
Words with Subword Units, arXiv:1508.07909): beginning with letters, the most frequent pair of
neighbours within words becomes a new piece, again and again. sentencepiece (Kudo and Richardson
2018, arXiv:1808.06226) finds them, in the training transcripts alone; to spell with them takes no
library. Texts are words whatever the units, so error rates of different units compare.
"""

import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import chain, pairwise
from pathlib import Path

from bench.core.config import digest
from bench.core.errors import UserError, first_line
from bench.core.files import write_json
from bench.core.paths import cache_folder, made_once
from bench.data.text import ALPHABET, BLANK

UNITS_VERSION = 1
"""Raised when `learn` gives other pieces for some texts."""
MIN_PIECES = len(ALPHABET) + 1
"""Each letter is a piece, so that every text can be spelled."""
MAX_PIECES = 2**16
FILE = "units.json"

_SPACE_MARK = "▁"
_MAX_SENTENCE_BYTES = 2**30
"""sentencepiece leaves out longer ones, by default those over 4192 bytes."""


@dataclass(frozen=True, kw_only=True)
class UnitsConfig:
    """What a network outputs."""

    num_pieces: int = 0
    """Pieces of words, learnt from the training transcripts by byte-pair encoding (extra
    [subword]); the single letters count. 0: letters."""

    def __post_init__(self) -> None:
        if self.num_pieces and not MIN_PIECES <= self.num_pieces <= MAX_PIECES:
            raise ValueError(
                f"num_pieces must be {MIN_PIECES} to {MAX_PIECES:,}, or 0 for letters, "
                f"got {self.num_pieces}"
            )

    @property
    def num_symbols(self) -> int:
        """Of the output layer, the blank included."""
        return 1 + (self.num_pieces or len(ALPHABET))


@dataclass(frozen=True)
class Units:
    """Symbols, and how texts are spelled with them. Symbol 0 is CTC's blank."""

    symbols: tuple[str, ...] = tuple(ALPHABET)
    """The text of symbol 1, 2, …; by default the space, the apostrophe and a to z. Pieces are in
    the order of their merges, and those that begin a word begin with a space."""

    def __post_init__(self) -> None:
        if not set(ALPHABET) <= set(self.symbols) or len(set(self.symbols)) < len(self.symbols):
            raise ValueError("units hold each letter, and no symbol twice")

    @property
    def are_letters(self) -> bool:
        """True if the space is a symbol between words, false if it begins words."""
        return len(self.symbols) == len(ALPHABET)

    @property
    def config(self) -> UnitsConfig:
        """What asks for as many of them."""
        return UnitsConfig(num_pieces=0 if self.are_letters else len(self.symbols))

    @property
    def num_symbols(self) -> int:
        """V, the blank included."""
        return 1 + len(self.symbols)

    @cached_property
    def digest(self) -> str:
        """Names the units by their content."""
        return digest(self.symbols)

    def encode(self, text: str) -> list[int]:
        """Normalised `text` as symbol indices, never the blank."""
        if self.are_letters:
            return [self._index[letter] for letter in text]
        return list(chain.from_iterable(map(self._spelled, text.split())))

    def decode(self, indices: Iterable[int]) -> str:
        """The text of symbol `indices`, the inverse of `encode`; without blanks."""
        text = "".join(map(self.text_of, indices))
        return text if self.are_letters else text.removeprefix(" ")

    def text_of(self, index: int) -> str:
        """The text of one symbol, with the space that it may begin with."""
        assert BLANK < index < self.num_symbols, f"no symbol of text: {index}"
        return self.symbols[index - 1]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols, start=1)}

    @cached_property
    def _spellings(self) -> dict[str, list[int]]:
        """Of the words seen so far."""
        return {}

    def _spelled(self, word: str) -> list[int]:
        if (known := self._spellings.get(word)) is not None:
            return known
        # Merge the pair that was merged first in training, the leftmost of equals:
        #
        #     symbols    1 "th", 2 " the", 3 "es", then letters
        #     " these"   [ ][t][h][e][s][e]    [ ][th][e][s][e]    [ ][th][es][e]
        parts, index, never = list(f" {word}"), self._index, self.num_symbols
        while True:
            ranks = [index.get(left + right, never) for left, right in pairwise(parts)]
            first = min(ranks, default=never)
            if first == never:
                break
            place = ranks.index(first)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return self._spellings.setdefault(word, [index[part] for part in parts])


LETTERS = Units()


def units_of(config: UnitsConfig, train_texts: Iterable[str]) -> Units:
    """The units that `config` asks for; pieces are learnt once and cached.

    Args:
        config: how many pieces.
        train_texts: normalised training transcripts; not read for letters.

    Raises:
        UserError: sentencepiece is missing; the texts have fewer different pieces.
        UnwritableError: the cache cannot be written.
    """
    if not config.num_pieces:
        return LETTERS
    texts = tuple(train_texts)

    def make(folder: Path) -> None:
        write_json(folder / FILE, learn(config.num_pieces, texts).symbols)

    key = digest([UNITS_VERSION, config.num_pieces, texts])
    folder = made_once(cache_folder("units") / key, make)
    return Units(tuple(json.loads((folder / FILE).read_text(encoding="utf-8"))))


def learn(num_pieces: int, texts: Sequence[str]) -> Units:
    """`num_pieces` pieces of normalised `texts`: a count of pairs, the same on every machine.

    Raises:
        UserError: as `units_of`.
    """
    try:
        trainer = import_module("sentencepiece").SentencePieceTrainer
    except ImportError as error:
        raise UserError(
            f"units.num_pieces={num_pieces} needs sentencepiece; run: pip install "
            "'deepspeech-bench[subword]', or leave it at 0 for letters"
        ) from error
    file = io.BytesIO()
    try:
        trainer.train(
            sentence_iterator=iter(texts),
            model_writer=file,
            model_type="bpe",
            vocab_size=num_pieces + 1,
            unk_id=BLANK,  # the texts hold no unknown symbol, so its place is free for the blank
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            required_chars=ALPHABET.strip(),
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=_MAX_SENTENCE_BYTES,
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(_too_few(num_pieces, error, len(texts))) from error
    model = import_module("sentencepiece").SentencePieceProcessor(model_proto=file.getvalue())
    pieces = map(model.id_to_piece, range(1, model.get_piece_size()))
    return Units(tuple(piece.replace(_SPACE_MARK, " ") for piece in pieces))


def _too_few(num_pieces: int, error: RuntimeError, num_texts: int) -> str:
    """What sentencepiece's `error` says, in our terms."""
    most = re.search(r"value <= (\d+)", str(error))
    if most is None:
        return (
            f"units.num_pieces={num_pieces} cannot be learnt from {num_texts:,} training "
            f"transcripts ({first_line(error)}); leave it at 0 for letters"
        )
    largest = int(most[1]) - 1  # without the blank
    return (
        f"units.num_pieces={num_pieces} asks for more pieces than the {num_texts:,} training "
        f"transcripts have; take at most {largest}, or a larger corpus"
    )
