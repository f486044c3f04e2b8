import pytest

from bench.core.config import from_dict, to_dict
from bench.core.errors import UserError
from bench.data.corpora import CORPORA, CorpusConfig, load_corpus


def test_table_lists_the_corpora_once() -> None:
    assert list(CORPORA) == [
        "spoken",
        "spoken-tiny",
        "an4",
        "an4-dev",
        "an4-all",
        "librispeech",
        "manifest",
        "commonvoice",
        "kaldi",
        "hf",
        "lhotse",
    ]
    for spec in CORPORA.values():
        assert spec.summary
        assert spec.source


@pytest.mark.parametrize(
    ("given", "name", "path"),
    [
        ("spoken", "spoken", None),
        ("an4:/data/an4", "an4", "/data/an4"),
        ("manifest:", "manifest", None),
        ("manifest:c:/x", "manifest", "c:/x"),
    ],
)
def test_parse(given: str, name: str, path: str | None) -> None:
    assert CorpusConfig.parse(given) == CorpusConfig(name=name, path=path)


def test_parse_needs_a_name() -> None:
    with pytest.raises(UserError, match=r"reads NAME\[:PATH\], got ':/data'"):
        CorpusConfig.parse(":/data")


def test_config_survives_json_and_refuses_bad_values() -> None:
    config = CorpusConfig(name="an4", channel=1, text="drop", max_seconds=12.5)
    assert from_dict(CorpusConfig, to_dict(config)) == config
    for key, value in (("channel", -1), ("max_seconds", 0), ("text", "maybe")):
        with pytest.raises(UserError, match=key):
            from_dict(CorpusConfig, {key: value})


def test_unknown_corpus_brings_near_names() -> None:
    with pytest.raises(UserError, match="unknown corpus 'spokn'; did you mean spoken"):
        load_corpus(CorpusConfig(name="spokn"))
