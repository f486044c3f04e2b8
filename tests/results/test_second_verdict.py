"""The second verdict: what a language model changed, paired by run, speaker and word."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.core.config import to_dict
from bench.core.files import write_json
from bench.data.utterance import Corpus, Utterance
from bench.decoding.language_model import LmFacts
from bench.results.comparison import compare
from bench.results.second_verdict import second_verdict
from bench.results.systems import read_systems
from bench.results.watch import heard_sentences
from bench.runs.reader import read_study
from bench.runs.state import State
from bench.scoring import UtteranceScore, score
from bench.study.decoding import BEAM, PLAN, WEIGHTS, DecodingPlan, Heard
from bench.study.definition import FILE, StudyDefinition
from bench.study.rounds import read_looks
from reports.second import SecondVerdict
from tests.studies import record_of, study_of, write_rows

REFS = {"s1-1": "one two three", "s1-2": "four five", "s2-1": "six", "s3-1": "seven eight"}
GREEDY = {
    "ds-gru": (["one two", "four five", "sex", "seven ate"], ["one too three", "for five", "six", "heaven ate"]),
    "ds-rnn": (["won to", "for fife", "sex", "seven ate"], ["one", "five", "sax", "eight"]),
}  # fmt: skip
BEAM_TEXTS = {
    "ds-gru": (["one two three", "four five", "six", "eleven ate"], list(REFS.values())),
    "ds-rnn": (["one two three", "four five", "sex", "seven eight"], ["one", "four five", "six", "seven eight"]),
}  # fmt: skip
LM = LmFacts(
    digest="d1", source="texts", unit="word", order=3, num_ngrams=(3, 2, 1), perplexity=2.0, oov=0.1
)
Study = tuple[Path, StudyDefinition]


def scores(hyps: Sequence[str]) -> list[UtteranceScore]:
    return score(REFS, REFS.values(), hyps, ["s1", "s1", "s2", "s3"], [1.0] * len(REFS))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Two systems with two confirm runs each, decoded again."""
    monkeypatch.chdir(tmp_path)
    definition = study_of(GREEDY.keys(), name="first", data_digest="d1")
    folder = tmp_path / "out" / "first"
    write_json(folder / FILE, to_dict(definition))
    plan = DecodingPlan(lm=LM, width=10, num_tokens=5, threshold=20.0, settings=((1.0, 1.5),))
    write_json(folder / BEAM / PLAN, to_dict(plan))
    for label, runs in GREEDY.items():
        weights = {"alpha": 1.0, "beta": 1.5, "wers": [0.5]}
        write_json(folder / BEAM / label / WEIGHTS, weights)
        for slot, hyps in enumerate(runs):
            own = folder / "runs" / label / f"confirm-{slot}"
            given = {"kind": "confirm", "slot": slot, "seed": 5000 + slot, "system": label}
            record = record_of(own, data_digest="d1", **given)
            record.write_scores("test", scores(hyps))
            record.close(State.FINISHED, {})
            again = folder / BEAM / label / own.name / "utterances-test.jsonl"
            write_rows(again, scores(BEAM_TEXTS[label][slot]))
    return folder, definition


def corpus() -> Corpus:
    def utterance(id: str, text: str) -> Utterance:
        known = {"templates": "unseen" if id.startswith("s3") else "trained"}
        return Utterance(
            id=id, audio=Path(id), sample_rate_hz=16000, channel=None, text=text, speaker=id[:2],
            split="test", seconds=1.0, audio_digest=id, attributes=known,
        )  # fmt: skip

    return Corpus(name="c", utterances=tuple(utterance(id, ref) for id, ref in REFS.items()))


def read(study: Study) -> SecondVerdict | None:
    folder, definition = study
    tables = read_study(folder)
    first = compare(definition, tables, read_looks(folder))
    return second_verdict(folder, definition, tables, corpus(), first)


def test_gains_and_gaps_are_differences_of_the_same_runs(study: Study) -> None:
    second = read(study)
    assert second is not None
    gains = {gain.system: gain for gain in second.gains}
    # Of 16 words, 7 are wrong greedily and 2 with the language model.
    assert gains["ds-gru"].greedy[0] == pytest.approx(7 / 16)
    assert gains["ds-gru"].beam[0] == pytest.approx(2 / 16)
    assert gains["ds-gru"].change[0] == pytest.approx(-5 / 16)
    assert gains["ds-rnn"].change[0] == pytest.approx(
        gains["ds-rnn"].beam[0] - gains["ds-rnn"].greedy[0]
    )
    for gain in second.gains:
        low, high = gain.change[1:]
        assert low < gain.change[0] < high
        assert (gain.alpha, gain.beta) == (1.0, 1.5)
    (gap,) = second.gaps
    assert (gap.a, gap.b) == ("ds-gru", "ds-rnn")
    assert gap.change[0] == pytest.approx(gap.beam[0] - gap.greedy[0])
    assert gap.change[0] == pytest.approx(gains["ds-rnn"].change[0] - gains["ds-gru"].change[0])


def test_groups_are_those_of_the_templates(study: Study) -> None:
    second = read(study)
    assert second is not None
    rows = {(system, group): wers for system, group, *wers in second.groups}
    assert rows["ds-gru", "trained"] == [pytest.approx(4 / 12), 0.0]
    assert rows["ds-gru", "unseen"] == [pytest.approx(3 / 4), pytest.approx(2 / 4)]


def test_groups_need_two_kinds_of_templates(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.results.second_verdict.TEMPLATES", "no such attribute")
    second = read(study)
    assert second is not None
    assert second.groups == ()


def test_words_are_mended_or_broken(study: Study) -> None:
    second = read(study)
    assert second is not None
    words = {each.system: each for each in second.words}["ds-gru"]
    # Mended: three, six; two, four, seven, eight. Broken: seven.
    assert (words.num_mended, words.num_broken) == (6, 1)
    assert words.broken == (("seven", 1),)
    shown = [id for id, *_ in words.examples]
    assert sorted(shown[:2]) == ["s1-1", "s2-1"]
    assert shown[2:] == ["s3-1"], "what it broke comes last"


def test_there_is_none_before_every_run_was_decoded(study: Study) -> None:
    folder, _ = study
    (folder / BEAM / "ds-rnn" / "confirm-1" / "utterances-test.jsonl").unlink()
    assert read(study) is None
    (folder / BEAM / PLAN).unlink()
    assert read(study) is None


@pytest.mark.usefixtures("study")
def test_the_decoder_is_a_fact_of_the_systems() -> None:
    greedy, *_ = read_systems(["first"])
    beam, *_ = read_systems([str(Path("out", "first", BEAM))])
    assert greedy.facts["decoder"] == "greedy"
    assert {beam.facts[key] for key in ("decoder", "decoder.lm")} == {"beam", "d1"}
    assert list(beam.scored.runs[1]["hyp"]) == list(REFS.values())


def test_a_search_that_was_too_narrow_withholds_with_either_decoder(study: Study) -> None:
    folder, definition = study
    key, dimension = next(
        (key, d) for key, d in definition.searched("ds-rnn").items() if d.high and not d.firm
    )
    own = folder / "runs" / "ds-rnn" / "trial-001"
    record = record_of(own, slot=1, system="ds-rnn", params={key: dimension.high})
    record.close(State.FINISHED, {"best/valid/wer": 0.1})
    for name in ("first", str(folder / BEAM)):
        gru, rnn = read_systems([name])
        assert gru.scored.edges == (), name
        assert "edge" in rnn.scored.edges[0], name


def test_a_run_without_a_checkpoint_counts_with_either_decoder(study: Study) -> None:
    folder, _ = study
    for path in folder.rglob("ds-gru/confirm-1/utterances-test.jsonl"):
        path.unlink()
    end = {"state": "diverged", "metrics": {}, "error": None, "ended_at": "t"}
    write_json(folder / "runs" / "ds-gru" / "confirm-1" / "summary.json", end)
    for name in ("first", str(folder / BEAM)):
        system = read_systems([name])[0]
        assert set(system.scored.runs[1]["hyp"]) == {""}, name


@pytest.fixture
def watched() -> Callable[[float], pd.DataFrame]:
    """``watched(last)``: what run ds-gru/confirm-0 heard after epochs 1 to 7, and after `last`."""
    return lambda last: pd.DataFrame(
        [
            {"run": "ds-gru/confirm-0", "id": "w", "epoch": epoch, "hyp": f"after {epoch:g}"}
            for epoch in (*map(float, range(1, 8)), last)
        ]
    )


def test_the_watch_utterance_is_shown_by_epoch(
    study: Study, watched: Callable[[float], pd.DataFrame]
) -> None:
    folder, _ = study
    tables = replace(read_study(folder), watch=watched(19.0))
    assert heard_sentences(folder, tables) == ()
    row = Heard(
        system="ds-gru", run="confirm-0", seed=5000, id="w", ref="i am", greedy=" i  hum",
        beam="i am", alpha=1.0, beta=1.5,
    )  # fmt: skip
    rows = [to_dict(row), to_dict(replace(row, id="x", ref="another"))]
    write_json(folder / "decoding" / "watch.json", {"rows": rows})
    (heard,) = heard_sentences(folder, tables)
    assert heard.by_epoch == ((1, "after 1"), (5, "after 5"), (19, "after 19"))
    assert (heard.ref, heard.greedy, heard.beam) == ("i am", "i hum", "i am")
