"""The beam search against the enumeration of all alignments, with the language model's own sums."""

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.errors import UserError
from bench.data.text import ALPHABET, BLANK, normalize
from bench.data.units import LETTERS, Units
from bench.decoding import DECODERS, greedy
from bench.decoding import beam as beam_module
from bench.decoding.beam import BeamConfig, BeamSearch, install_command
from bench.decoding.language_model import LanguageModel, LmConfig, as_letters, language_model
from bench.decoding.ngram import BEGIN, END, Gram, from_arpa
from bench.flags.evaluate import build_parser

pytest.importorskip("flashlight.lib.text.decoder.kenlm")

TEXTS = ("a b", "ab a", "b a b", "a a", "ba ab", "b", "ab ab a", "a b a", "ba a", "b b")
ALL = BeamConfig(width=500, num_tokens=LETTERS.num_symbols, threshold=1e9)
SYMBOLS = (BLANK, *LETTERS.encode(" ab"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def model_of(texts: Iterable[str] = TEXTS, *, lexicon: bool = True) -> LanguageModel:
    return language_model(LmConfig(lexicon=lexicon), texts, ["a b"])


def cases(number: int) -> Iterator[tuple[NDArray[np.float64], float, float]]:
    rng = np.random.default_rng(3)
    for _ in range(number):
        scores = rng.normal(size=(rng.integers(3, 6), len(SYMBOLS))) * rng.choice([1, 2, 3])
        scores[:, 0] += rng.choice([0, 1.5])
        log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        yield log_probs, float(rng.uniform(0, 1.5)), float(rng.uniform(-1, 2))


def widened(log_probs: NDArray[np.float64]) -> Tensor:
    """With the other symbols of the alphabet, which are impossible."""
    wide = np.full((len(log_probs), LETTERS.num_symbols), -np.inf, np.float32)
    wide[:, SYMBOLS] = log_probs
    return torch.from_numpy(wide)


def log_lm(model: LanguageModel, sentence: str) -> float:
    ngram, total = from_arpa(model.path.read_text()), 0.0
    history: Gram = (BEGIN,)
    for word in (*sentence.split(), END):
        total += ngram.log10(word, history)
        history = (*history, word)
    return total * math.log(10)


def enumerated(log_probs: NDArray[np.float64]) -> dict[str, float]:
    """log p_CTC by text, of all alignments; runs of spaces count as one."""
    found: dict[str, float] = {}
    for path in itertools.product(range(len(SYMBOLS)), repeat=len(log_probs)):
        value = sum(row[symbol] for row, symbol in zip(log_probs, path, strict=True))
        kept = [s for i, s in enumerate(path) if s and (i == 0 or path[i - 1] != s)]
        text = normalize(LETTERS.decode(SYMBOLS[s] for s in kept))
        found[text] = float(np.logaddexp(found.get(text, -np.inf), value))
    return found


def test_finds_the_best_texts_with_their_scores() -> None:
    model = model_of()
    search, lexicon = BeamSearch(ALL, model), set(model.words)
    for log_probs, alpha, beta in cases(12):
        expected = sorted(
            (
                (ctc + alpha * log_lm(model, text) + beta * len(text.split()), text, ctc)
                for text, ctc in enumerated(log_probs).items()
                if set(text.split()) <= lexicon
            ),
            reverse=True,
        )
        found = search.with_weights(alpha, beta).nbest(widened(log_probs), 4, LETTERS)
        for hypothesis, (score, text, ctc) in zip(found, expected, strict=False):
            assert hypothesis.text == text
            assert hypothesis.score == pytest.approx(score, abs=1e-4)
            assert hypothesis.ctc == pytest.approx(ctc, abs=1e-4)
            assert hypothesis.lm == pytest.approx(log_lm(model, text), abs=1e-4)


PIECES = Units((" a", " b", " ab", *ALPHABET))
SPOKEN = (BLANK, 1, 2, 3, *PIECES.encode("aa")[1:])
"""The blank, " a", " b", " ab" and "a"."""


def with_pieces(log_probs: NDArray[np.float64]) -> dict[str, float]:
    """log p_CTC by text, of the alignments of its own pieces."""
    found: dict[str, float] = {}
    for path in itertools.product(range(len(SPOKEN)), repeat=len(log_probs)):
        value = sum(row[symbol] for row, symbol in zip(log_probs, path, strict=True))
        labels = [SPOKEN[s] for i, s in enumerate(path) if s and (i == 0 or path[i - 1] != s)]
        text = PIECES.decode(labels)
        if PIECES.encode(text) == labels:
            found[text] = float(np.logaddexp(found.get(text, -np.inf), value))
    return found


def test_finds_the_best_texts_of_pieces_with_their_scores() -> None:
    model, rng = model_of(), np.random.default_rng(5)
    search, lexicon = BeamSearch(ALL, model), set(model.words)
    for _ in range(12):
        scores = 2 * rng.normal(size=(rng.integers(2, 6), len(SPOKEN)))
        log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        alpha, beta = float(rng.uniform(0, 1.5)), float(rng.uniform(-1, 2))
        expected = sorted(
            (
                (ctc + alpha * log_lm(model, text) + beta * len(text.split()), text, ctc)
                for text, ctc in with_pieces(log_probs).items()
                if set(text.split()) <= lexicon
            ),
            reverse=True,
        )
        wide = np.full((len(log_probs), PIECES.num_symbols), -np.inf, np.float32)
        wide[:, SPOKEN] = log_probs
        given = torch.from_numpy(wide)
        found = search.with_weights(alpha, beta).nbest(given, 4, PIECES)
        for hypothesis, (score, text, ctc) in zip(found, expected, strict=False):
            assert hypothesis.text == text
            assert hypothesis.score == pytest.approx(score, abs=1e-4)
            assert hypothesis.ctc == pytest.approx(ctc, abs=1e-4)
            assert hypothesis.lm == pytest.approx(log_lm(model, text), abs=1e-4)


def test_the_last_piece_of_a_word_may_last() -> None:
    """Peaks of several frames, none with a blank between."""
    rows = [label for label in PIECES.encode("ab a b") for _ in range(3)]
    probs = torch.full((len(rows), PIECES.num_symbols), 1e-4)
    probs[torch.arange(len(rows)), torch.tensor(rows)] = 1.0
    log_probs_UV = probs.log_softmax(-1)
    assert (log_probs_UV[:, BLANK] < -3).all()
    given = batch((probs / probs.sum(-1, keepdim=True)).log())
    search = BeamSearch(BeamConfig(), model_of())
    assert search(*given, PIECES) == greedy(*given, PIECES) == ["ab a b"]


def test_one_search_reads_networks_of_several_units() -> None:
    search = BeamSearch(BeamConfig(), model_of(["don't go", "i don't", "go on", "i go"]))
    empty = torch.zeros(1, 0, PIECES.num_symbols), torch.tensor([0])
    assert search(*empty, PIECES) == [""]
    assert search(*batch(peaky("i go")), LETTERS) == ["i go"]


def test_an_open_vocabulary_is_of_letters() -> None:
    search = BeamSearch(BeamConfig(), model_of(lexicon=False))
    with pytest.raises(UserError, match="language model of letters, the network outputs 31 pieces"):
        search.nbest(torch.zeros(1, PIECES.num_symbols), 1, PIECES)


def test_without_a_lexicon_letters_are_scored() -> None:
    model = model_of(lexicon=False)
    assert model.facts.unit == "letter"
    search = BeamSearch(ALL, model)
    for log_probs, alpha, _ in cases(12):
        log_probs = log_probs.copy()
        log_probs[:, 1] = -1e3  # one word: with spaces several spellings are one text
        expected = {
            text: ctc + alpha * log_lm(model, as_letters(text))
            for text, ctc in enumerated(log_probs).items()
            if text
        }
        best = max(expected, key=expected.__getitem__)
        words = [
            h
            for h in search.with_weights(alpha, 0.0).nbest(widened(log_probs), 5, LETTERS)
            if h.text
        ]
        assert words[0].text == best
        assert words[0].score == pytest.approx(expected[best], abs=1e-3)


def peaky(text: str, num_blanks: int = 3, sure: float = 0.999) -> Tensor:
    """As trained networks are: a peak for each symbol, blanks between."""
    rows = []
    for symbol in LETTERS.encode(text):
        rows += [BLANK] * num_blanks + [symbol]
    probs = torch.full(
        (len(rows) + num_blanks, LETTERS.num_symbols), (1 - sure) / (LETTERS.num_symbols - 1)
    )
    probs[torch.arange(len(probs)), torch.tensor([*rows, *[BLANK] * num_blanks])] = sure
    return probs.log()


def batch(*rows: Tensor) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=0.0), lengths


def test_reads_a_batch_and_ignores_padding() -> None:
    texts = ["don't go", "i don't", "go", ""]
    search = BeamSearch(BeamConfig(), model_of(["don't go", "i don't", "go on", "i go"]))
    rows = batch(*(peaky(text) for text in texts))
    assert search(*rows, LETTERS) == greedy(*rows, LETTERS) == texts


def test_a_misrecognised_word_becomes_one_of_the_lexicon() -> None:
    search = BeamSearch(BeamConfig(), model_of(["the red key", "the red door", "read the key"]))
    assert search(*batch(peaky("the rad key", sure=0.9)), LETTERS) == ["the red key"]


def test_words_with_an_apostrophe_are_spelled_with_it() -> None:
    model = model_of(["it's here", "its name"])
    assert set(model.words) == {"it's", "here", "its", "name"}
    assert BeamSearch(BeamConfig(), model)(*batch(peaky("it's here")), LETTERS) == ["it's here"]


def test_what_the_alphabet_cannot_spell_does_not_come_out() -> None:
    model = model_of(["the café is open", "the door is open"])
    assert "café" not in model.words
    heard = BeamSearch(BeamConfig(), model)(*batch(peaky("the door is open")), LETTERS)
    assert heard == ["the door is open"]


def test_without_a_lexicon_a_new_word_comes_out() -> None:
    texts = ["the red door", "the read key"]
    closed = BeamSearch(BeamConfig(), model_of(texts))
    opened = BeamSearch(BeamConfig(), model_of(texts, lexicon=False))
    rows = batch(peaky("the zebra"))
    assert opened(*rows, LETTERS) == ["the zebra"]
    assert closed(*rows, LETTERS) != ["the zebra"]


def test_nbest_texts_are_different_and_ordered() -> None:
    search = BeamSearch(BeamConfig(), model_of(["the red key", "the read key", "a key"]))
    found = search.nbest(peaky("the red key", sure=0.5), 5, LETTERS)
    assert len({h.text for h in found}) == len(found) > 1
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@pytest.mark.parametrize(
    "settings",
    [{"width": 0}, {"num_tokens": 0}, {"alpha": math.nan}, {"alpha": -1.0}, {"beta": math.inf},
     {"threshold": 0.0}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"at least|finite"):
        BeamConfig(**settings)  # type: ignore[arg-type]


def test_without_the_library_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "flashlight.lib.text.decoder.kenlm", None)
    with pytest.raises(UserError, match="deepspeech-bench\\[lm\\]"):
        BeamSearch(BeamConfig(), model_of())
    assert not beam_module.is_installed()
    monkeypatch.setattr("sys.version_info", (3, 13, 0))
    assert "3.12" in install_command()


def test_the_table_has_what_the_flag_takes() -> None:
    decoder = next(a for a in build_parser()._actions if a.dest == "decoder")
    assert decoder.choices is not None
    assert set(DECODERS) == set(decoder.choices)
