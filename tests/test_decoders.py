"""--decoder beam as its users meet it: texts, lists of the best, and bad input in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.core.config import updated
from bench.data.corpora import CorpusConfig
from bench.data.units import LETTERS
from bench.data.utterance import Corpus
from bench.decoding import beam
from bench.training.checkpoint import save
from bench.training.config import build_model, default_run_config
from tests.tones import write_table

TINY = {
    "features.num_bins": 24,
    "model.convs": [[24, 5, 2]],
    "model.num_layers": 1,
    "model.width": 24,
}
Run = Callable[..., tuple[int, str, str]]

pytest.importorskip("flashlight.lib.text.decoder.kenlm")


@pytest.fixture
def given(tmp_path: Path, tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """``--checkpoint FILE`` of a network that hears nonsense, trained on a manifest of tones."""
    monkeypatch.chdir(tmp_path)
    corpus = CorpusConfig.parse(write_table(tone_corpus, tmp_path / "tones.jsonl"))
    torch.manual_seed(0)
    config = updated(default_run_config("ds-gru", corpus), TINY)
    save(tmp_path / "best.pt", config, build_model(config), None, LETTERS)
    return ["--checkpoint", str(tmp_path / "best.pt")]


def test_words_of_the_training_transcripts_come_out(
    run: Run, given: list[str], tone_corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    audio = str(tone_corpus.split("test")[0].audio)
    code, out, err = run("transcribe", *given, audio, "--decoder", "beam", "--json")
    assert code == 0, err
    assert "alpha 1 and beta 1.5 are usual values, which nobody has searched" in caplog.text
    caplog.clear()
    (row,) = json.loads(out)
    known = {word for u in tone_corpus.split("train") for word in u.text.split()}
    assert set(row["text"].split()) <= known
    code, out, err = run("evaluate", *given, "--decoder", "beam", "--beta", "5", "--json")
    assert code == 0, err
    assert "usual values" not in caplog.text
    result = json.loads(out)
    assert result["decoder"] == "beam"
    said = {word for each in result["utterances"] for word in each["hyp"].split()}
    assert said
    assert said <= known


def test_lists_of_the_best_have_scores_and_an_oracle(run: Run, given: list[str]) -> None:
    flags = ["--decoder", "beam", "--beta", "5", "--nbest", "3"]
    code, out, err = run("evaluate", *given, *flags)
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["ref"] for row in rows] == ["bad dad", "a bed", "cab a bee", "dead cab"]
    for row in rows:
        scores = [each["score"] for each in row["nbest"]]
        assert scores == sorted(scores, reverse=True)
        assert 1 <= len({each["text"] for each in row["nbest"]}) == len(scores) <= 3
    words = sum(len(row["ref"].split()) for row in rows)
    first = 100 * sum(row["nbest"][0]["errors"] for row in rows) / words
    oracle = 100 * sum(min(each["errors"] for each in row["nbest"]) for row in rows) / words
    assert f"valid: WER {first:.2f} %, of the best of 3 {oracle:.2f} % (oracle)" in err


def lm(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


def test_bad_input_is_a_line_and_exit_2(run: Run, given: list[str], tmp_path: Path) -> None:
    none = lm(tmp_path, "none.arpa", "hello\n")
    words = "".join(f"-1\t{word}\t0\n" for word in ("<s>", "</s>", "мама", "мыла", "раму"))
    other = lm(tmp_path, "other.arpa", f"\\data\\\nngram 1=5\n\n\\1-grams:\n{words}\n\\end\\\n")
    empty = lm(tmp_path, "empty.txt", "\n\n")
    decoder = ["--decoder", "beam"]
    cases = [
        ([*decoder, "--lm", none], "none.arpa is none: it has no \\data\\ line; name another file"),
        ([*decoder, "--lm", other], "are not, such as 'мама'; name another, or convert it"),
        ([*decoder, "--lm", str(tmp_path / "gone.arpa")], "gone.arpa"),
        ([*decoder, "--lm", none, "--lm-text", empty], "takes no further --lm-text"),
        ([*decoder, "--lm", none, "--open-vocabulary"], "one of letters; drop one"),
        ([*decoder, "--lm-text", empty], "a file with words"),
        ([*decoder, "--beam-width", "0"], "--beam-width must be at least 1, got 0"),
        ([*decoder, "--alpha", "nan"], "--alpha must be finite, got nan"),
        ([*decoder, "--alpha", "-1"], "--alpha must be at least 0, got -1"),
        ([*decoder, "--lm-order", "7"], "--lm-order must be at most 6, got 7"),
        ([*decoder, "--lm-order", "1"], "--lm-order must be at least 2, got 1"),
        ([*decoder, "--nbest", "0"], "--nbest must be at least 1, got 0"),
        (["--nbest", "3"], "--nbest is of the beam search; add --decoder beam, or leave it out"),
        (["--decoder", "greedy", "--alpha", "0"], "--alpha is of the beam search"),
    ]
    for arguments, message in cases:
        code, out, err = run("evaluate", *given, *arguments)
        assert (code, out) == (2, ""), arguments
        assert message in err, arguments
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert lines == [err.splitlines()[-1]], arguments


@pytest.mark.parametrize("verb", ["evaluate", "transcribe", "sweep"])
def test_without_the_extra_the_error_names_the_command(
    run: Run, given: list[str], tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(beam, "is_installed", lambda: False)
    audio = [str(tone_corpus.utterances[0].audio)] if verb == "transcribe" else []
    first = ["--variant", "ds-gru"] if verb == "sweep" else given
    code, out, err = run(verb, *first, *audio, "--decoder", "beam")
    assert (code, out) == (2, "")
    assert f"error: --decoder beam needs flashlight-text; {beam.install_command()}" in err
    assert "Traceback" not in err
