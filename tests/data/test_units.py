"""Letters, and pieces as sentencepiece itself spells with them."""

import io
import json
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.data import units as units_module
from bench.data.corpora.spoken import SIZES, plan
from bench.data.text import ALPHABET, BLANK
from bench.data.units import LETTERS, MIN_PIECES, Units, UnitsConfig, learn, units_of
from variants import deepspeech, spec

TEXTS = tuple(line.text for line in plan(SIZES["spoken"]) if line.split == "train")
PIECES = Units((" t", "he", " the", *ALPHABET))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def test_letters_are_blank_space_apostrophe_and_a_to_z() -> None:
    assert (BLANK, LETTERS.num_symbols) == (0, 29)
    assert LETTERS.encode(" 'abz") == [1, 2, 3, 4, 28]
    assert LETTERS.are_letters
    assert not PIECES.are_letters


def test_networks_have_the_engine_s_symbols() -> None:
    """They import nothing of the engine, so they repeat both."""
    assert (len(ALPHABET), BLANK) == (deepspeech.NUM_LETTERS, spec.BLANK)


@given(st.text(alphabet=ALPHABET))
def test_decode_undoes_encode(spelled: str) -> None:
    assert LETTERS.decode(LETTERS.encode(spelled)) == spelled
    assert BLANK not in LETTERS.encode(spelled)
    normal = " ".join(spelled.split())
    assert PIECES.decode(PIECES.encode(normal)) == normal
    assert BLANK not in PIECES.encode(normal)


@pytest.mark.parametrize("index", [BLANK, LETTERS.num_symbols])
def test_decode_refuses_what_is_no_symbol(index: int) -> None:
    with pytest.raises(AssertionError, match="no symbol of text"):
        LETTERS.decode([3, index])


def test_a_word_is_merged_in_the_order_of_training() -> None:
    assert [PIECES.text_of(i) for i in PIECES.encode("the hehe t")] == [
        " the", " ", "he", "he", " t",
    ]  # fmt: skip
    # " t" was merged before "he", so "he" is still free to join it.
    assert [PIECES.text_of(i) for i in PIECES.encode("thee")] == [" the", "e"]


@pytest.mark.parametrize("symbols", [("a", "b"), (*ALPHABET, "a")])
def test_units_that_cannot_spell_are_refused(symbols: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="each letter, and no symbol twice"):
        Units(symbols)


@pytest.mark.parametrize("num_pieces", [64, 1024])
def test_pieces_and_spellings_are_those_of_sentencepiece(num_pieces: int) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=file, model_type="bpe", minloglevel=2,
        vocab_size=num_pieces + 1, unk_id=0, bos_id=-1, eos_id=-1, required_chars=ALPHABET[1:],
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    units = units_of(UnitsConfig(num_pieces=num_pieces), TEXTS)
    assert units.num_symbols == UnitsConfig(num_pieces=num_pieces).num_symbols == num_pieces + 1
    for text in (*TEXTS, "don't", "zq x'y", "mississippi banana hehehe"):
        assert units.encode(text) == model.encode(text)
        assert units.decode(units.encode(text)) == text
    assert units.digest != LETTERS.digest
    assert pickle.loads(pickle.dumps(units)) == units


def test_pieces_are_learnt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentencepiece")
    config = UnitsConfig(num_pieces=40)
    first = units_of(config, TEXTS[:50])
    assert first == learn(40, TEXTS[:50]), "nothing is drawn"
    monkeypatch.setattr(units_module, "learn", None)
    assert units_of(config, TEXTS[:50]) == first
    with pytest.raises(TypeError):
        units_of(config, TEXTS[:51])


def test_a_long_transcript_is_read() -> None:
    pytest.importorskip("sentencepiece")
    assert " zz" in learn(30, [" ".join(["zz"] * 5000)]).symbols


def test_letters_need_neither_texts_nor_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", "/dev/null/nowhere")
    assert units_of(UnitsConfig(), iter(())) is LETTERS


@pytest.mark.parametrize(
    "texts, message",
    [
        (TEXTS, "num_pieces=5000 asks for more pieces than the 1,040 training transcripts have; take at most 1949,"),
        ((), "num_pieces=5000 cannot be learnt from 0 training transcripts"),
    ],
)  # fmt: skip
def test_too_few_texts_are_one_line(texts: tuple[str, ...], message: str) -> None:
    pytest.importorskip("sentencepiece")
    with pytest.raises(UserError, match=message) as caught:
        units_of(UnitsConfig(num_pieces=5000), texts)
    assert "\n" not in str(caught.value)


def test_without_the_library_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"pip install 'deepspeech-bench\[subword\]'"):
        units_of(UnitsConfig(num_pieces=64), TEXTS)


@pytest.mark.parametrize("num_pieces", [-1, 1, MIN_PIECES - 1, 10**9])
def test_a_number_of_pieces_out_of_range_is_refused(num_pieces: int) -> None:
    with pytest.raises(ValueError, match="num_pieces must be 29 to 65,536, or 0 for letters"):
        UnitsConfig(num_pieces=num_pieces)


def test_symbols_survive_json() -> None:
    assert Units(tuple(json.loads(json.dumps(PIECES.symbols)))) == PIECES
