import logging
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.decoding.language_model import LmConfig, _sentences, as_letters, language_model
from bench.decoding.ngram import estimate, to_arpa

TRAIN = ["the red key", "the red door", "a key is here"]
VALID = ["the red key is new"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def arpa(path: Path, *sentences: str) -> Path:
    path.write_text("".join(to_arpa(estimate(sentences))))
    return path


def test_facts_are_logged_and_are_those_of_the_model(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model = language_model(LmConfig(), TRAIN, VALID)
    expected = estimate(TRAIN)
    fit = expected.fit(VALID)
    assert model.facts.num_ngrams == expected.counts
    assert model.facts.perplexity == pytest.approx(fit.perplexity, rel=1e-5)
    assert model.facts.oov == pytest.approx(1 / 5)
    assert "word 3-gram of the training transcripts" in caplog.text
    assert f"perplexity {fit.perplexity:.1f}, 20.00 % of the words unknown" in caplog.text


def test_it_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = language_model(LmConfig(), TRAIN, VALID)
    monkeypatch.setattr("bench.decoding.language_model.estimate", None)
    assert language_model(LmConfig(), TRAIN, VALID) == first


def test_other_texts_orders_and_files_are_other_models(tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("The Blue Door!\n\nthe red key\n")
    models = [
        language_model(LmConfig(), TRAIN, VALID),
        language_model(LmConfig(order=2), TRAIN, VALID),
        language_model(LmConfig(lexicon=False), TRAIN, VALID),
        language_model(LmConfig(texts=(more,)), TRAIN, VALID),
    ]
    assert len({m.path for m in models}) == len({m.facts.digest for m in models}) == 4
    assert "blue" in models[3].words
    assert models[3].facts.source == "the training transcripts and more.txt"


def test_a_sentence_ends_with_its_line_and_not_before(tmp_path: Path) -> None:
    """U+2028 is white space within a transcript, though str.splitlines splits there."""
    path = tmp_path / "more.txt"
    path.write_text("the blue\u2028door\nthe red key\n", encoding="utf-8")
    assert list(_sentences([path])) == ["the blue door", "the red key"]


def test_a_finished_model_needs_no_transcripts(tmp_path: Path) -> None:
    path = arpa(tmp_path / "own.arpa", "some other text", "some text")
    model = language_model(LmConfig(arpa=path), TRAIN, VALID)
    assert set(model.words) == {"some", "other", "text"}
    assert model.facts.source == "own.arpa"
    assert model.facts.oov == 1.0


@pytest.mark.parametrize("content", ["", "hello", "\\data\\\nngram 1=2\n", "\x01\x02"])
def test_what_is_no_arpa_is_an_error_of_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.arpa"
    path.write_text(content)
    with pytest.raises(UserError, match=r"ARPA format, .*bad.arpa is none"):
        language_model(LmConfig(arpa=path), TRAIN, VALID)


def test_a_model_of_other_symbols_is_refused(tmp_path: Path) -> None:
    path = arpa(tmp_path / "upper.arpa", "SOME TEXT", "MORE TEXT")
    with pytest.raises(UserError, match=r"spelled with ' and a to z, 3 of the 3 .* such as 'SOME'"):
        language_model(LmConfig(arpa=path), TRAIN, VALID)


def test_a_model_of_single_words_is_refused(tmp_path: Path) -> None:
    """KenLM reads none."""
    path = tmp_path / "words.arpa"
    path.write_text("".join(to_arpa(estimate(["some text"], 1))))
    with pytest.raises(
        UserError, match=r"order of 2 to 6 and the words <s> and </s>, .* has order 1"
    ):
        language_model(LmConfig(arpa=path), TRAIN, VALID)


@pytest.mark.parametrize("mark", ["<s>", "</s>"])
def test_a_model_without_the_ends_of_sentences_is_refused(tmp_path: Path, mark: str) -> None:
    """KenLM reads none."""
    path = tmp_path / "model.arpa"
    grams = {1: ["<s>", "</s>", "some", "text"], 2: ["some text"]}
    grams[1].remove(mark)
    counts = "".join(f"ngram {n}={len(lines)}\n" for n, lines in grams.items())
    parts = (f"\\{n}-grams:\n" + "".join(f"-1 {g}\n" for g in grams[n]) for n in grams)
    path.write_text(f"\\data\\\n{counts}{''.join(parts)}\\end\\\n")
    with pytest.raises(UserError, match=f"has order 2 and no {mark}; name another"):
        language_model(LmConfig(arpa=path), TRAIN, VALID)


def test_a_missing_file_and_an_empty_one_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        language_model(LmConfig(arpa=tmp_path / "none.arpa"), TRAIN, VALID)
    (tmp_path / "empty.txt").write_text("\n ?\n")
    with pytest.raises(UserError, match="needs a file with words"):
        language_model(LmConfig(texts=(tmp_path / "empty.txt",)), TRAIN, VALID)
    with pytest.raises(UserError, match="a text with words"):
        language_model(LmConfig(), [], VALID)


@pytest.mark.parametrize(
    "settings",
    [
        {"order": 1},
        {"order": 7},
        {"arpa": Path("a"), "texts": (Path("b"),)},
        {"arpa": Path("a"), "lexicon": False},
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"order|one of the two|drop one"):
        LmConfig(**settings)  # type: ignore[arg-type]


def test_letters_end_each_word() -> None:
    assert as_letters("it's me") == "i t ' s | m e |"
