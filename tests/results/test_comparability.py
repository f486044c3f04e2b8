"""What may be compared, what is refused, and what is only told."""

from dataclasses import replace

import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.data.utterance import Corpus, ExcludedUtterance
from bench.results import comparability as refusal
from bench.results.comparability import (
    check_comparable,
    differing_facts,
    differing_training,
    leaks,
    left_out_of_corpora,
    unknown_facts,
)
from bench.results.pairs import SystemRuns
from bench.results.scored import ScoredSystem

FACTS = {
    "data": "d1", "text": "t1", "decoder": "greedy", "budget.num_trials": "8",
    "precision": "float32", "hardware": "cpu-1", "metric": "jiwer 4.0.0",
}  # fmt: skip


def system(name: str, corpus: CorpusConfig | None = None, **facts: str) -> ScoredSystem:
    outcome = SystemRuns(name=name, runs=(pd.DataFrame(),))
    return ScoredSystem(scored=outcome, facts=FACTS | facts, corpus=corpus)


def foreign(name: str) -> ScoredSystem:
    return replace(system(name), facts={key: FACTS[key] for key in ("text", "metric")})


@pytest.mark.parametrize("key", FACTS)
def test_each_key_refuses_alone(key: str) -> None:
    other = replace(system("b"), facts={**FACTS, key: "other"})
    systems = [system("a"), other]
    assert differing_facts({s.name: s.facts for s in systems}) == {
        key: {"a": FACTS[key], "b": "other"}
    }
    found = f"^NOT COMPARABLE: .* in {key} \\(a: {FACTS[key]}, b: other\\); .*--force"
    with pytest.raises(UserError, match=found) as e:
        check_comparable([*systems, system("c")], force=False)
    assert "\n" not in str(e.value)
    assert check_comparable(systems, force=True) == (key,)


def test_what_is_alike_or_unknown_is_not_refused() -> None:
    systems = [system("a"), system("b"), foreign("c"), foreign("d")]
    assert check_comparable(systems, force=False) == ()
    assert unknown_facts(systems) == ("c, d: data, decoder, budget, precision, hardware unknown",)
    assert unknown_facts(systems[:2]) == ()


def test_other_training_data_for_the_same_test_set_are_a_stamp_and_no_refusal() -> None:
    alone = system("a", CorpusConfig(name="kaldi"))
    more = system("b", CorpusConfig(name="kaldi", added=("spoken",)), data="d1+d2")
    assert check_comparable([alone, more], force=False) == ()
    assert differing_training([alone, more, foreign("c")]) == (
        "TRAINING DATA DIFFER (a: kaldi d1, b: kaldi+spoken d1+d2), test is the same: a difference "
        "is one of systems and data together",
    )
    (saved,) = differing_training([replace(alone, corpus=None), system("b", data="d1+d3")])
    assert "(a: d1, b: d1+d3)" in saved
    assert differing_training([alone, alone]) == ()
    other = system("c", data="d2+d1")
    assert check_comparable([alone, more, other], force=True) == ("data",)
    assert differing_training([alone, more, other]) == (), "refused already"


def test_external_texts_are_normalised_under_a_rule_too() -> None:
    theirs = replace(foreign("b"), facts={"text": "t2"})
    assert check_comparable([system("a"), theirs], force=True) == ("text",)


def test_excluded_utterances_are_reported_once_per_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [ExcludedUtterance(id=id, split="test", reason="empty transcript") for id in "ab"]
    found = Corpus(name="an4", utterances=(), left_out=tuple(gone), digest="d1")
    monkeypatch.setattr(refusal, "load_corpus", lambda config: found)
    config = CorpusConfig(name="an4")
    assert left_out_of_corpora([system("a", config), system("b", config), foreign("c")]) == (
        "2 utterances of an4 were left out: 2 empty transcript",
    )
    assert left_out_of_corpora([foreign("c")]) == ()


@pytest.fixture
def an4(monkeypatch: pytest.MonkeyPatch) -> CorpusConfig:
    leakage = {"train/test same text": 26, "train/test same speaker": 2, "train/watch same text": 1}
    found = Corpus(name="an4", utterances=(), leakage=leakage, digest="d1")
    monkeypatch.setattr(refusal, "load_corpus", lambda config, progress: found)
    return CorpusConfig(name="an4")


def test_leakage_is_reported_once_per_corpus(an4: CorpusConfig) -> None:
    assert leaks([system("a", an4), system("b", an4), foreign("c")]) == (
        "LEAKAGE between the splits of an4: train/test same speaker (2), train/test same text (26)",
    )
    assert leaks([foreign("c")]) == ()


def test_a_corpus_that_changed_or_is_gone_leaves_leakage_unknown(
    an4: CorpusConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = "leakage between the splits of an4 is unknown"
    assert leaks([system("a", an4, data="d2")]) == (f"{unknown}: the corpus has changed",)

    def gone(config: CorpusConfig, progress: None) -> Corpus:
        raise UserError("no an4 in data/")

    monkeypatch.setattr(refusal, "load_corpus", gone)
    assert leaks([system("a", an4)]) == (f"{unknown}: no an4 in data/",)
