from dataclasses import replace

from bench.data.corpora import CorpusConfig
from bench.results.tuning import tuning_condition
from bench.study.definition import StudyDefinition
from bench.study.space import load_budget
from tests.studies import study_of

WORDS = "tuned on ds-gru on spoken (text version 2, budget quick)"


def study(*variants: str, corpus: str = "spoken") -> StudyDefinition:
    budget = load_budget("smoke")
    return study_of(variants, budget, corpus=CorpusConfig(name=corpus), name="x")


def test_the_variant_and_corpus_that_the_space_was_tuned_on() -> None:
    found = tuning_condition(study("ds-gru"))
    assert (found.outcome, found.found, found.details) == ("good", WORDS, ())


def test_other_variants_and_corpora_are_named() -> None:
    found = tuning_condition(study("ds-gru", "ds-lstm", "ds-rnn", corpus="an4"))
    assert (found.outcome, found.found) == ("plain", WORDS)
    assert found.details == (
        "sweeps/base.toml was tuned on ds-gru: the optimum of ds-lstm, ds-rnn may lie elsewhere",
        "sweeps/base.toml was tuned on spoken, the study is on an4",
    )


def test_a_file_without_a_note_and_one_of_another_text_version() -> None:
    published = tuning_condition(study("kur-speech"))
    assert published.details[-1] == (
        "sweeps/kur-speech.toml does not say on what it was tuned (kur-speech)"
    )
    own = study("ds-gru")
    space = own.spaces["ds-gru"]
    old = {file: replace(tuned, text="1") for file, tuned in space.tuned_on.items()}
    older = replace(own, spaces={"ds-gru": replace(space, tuned_on=old)})
    assert tuning_condition(older).details == (
        "sweeps/base.toml was tuned with text version 1, the study has 2",
    )
    joined = replace(own, corpus=replace(own.corpus, added=("an4",)))
    assert "sweeps/base.toml was tuned on spoken, the study is on spoken+an4" in (
        tuning_condition(joined).details
    )
    none = replace(own, spaces={"ds-gru": replace(space, tuned_on={})})
    assert tuning_condition(none).found == "on what they were tuned is not recorded"
