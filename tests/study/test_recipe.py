"""Recipes: every one that is shipped can be trained, and a wrong file is refused."""

from pathlib import Path

import pytest

from bench.core.config import updated
from bench.core.errors import UserError
from bench.data.corpora import parse_corpus
from bench.study.recipe import FOLDER, load_recipe
from bench.training.config import build_model, default_run_config

GOOD = """
summary = "10 % after a minute"
variant = "ds-gru"
corpus = "an4"
[set]
"optim.learning_rate" = 0.002
"""


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_shipped_recipes_can_be_trained(name: str) -> None:
    recipe = load_recipe(name)
    corpus = parse_corpus(recipe.corpus, text="error", channel=None)
    build_model(updated(default_run_config(recipe.variant, corpus), recipe.set))
    assert recipe.summary


def test_a_recipe_is_read(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    recipe = load_recipe("good", tmp_path)
    assert (recipe.name, recipe.variant, recipe.corpus) == ("good", "ds-gru", "an4")
    assert recipe.set == {"optim.learning_rate": 0.002}


def test_an_unknown_name_brings_near_ones(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    with pytest.raises(UserError, match=r"recipe 'god'.*good"):
        load_recipe("god", tmp_path)


@pytest.mark.parametrize(
    "content", [GOOD.replace('corpus = "an4"', ""), GOOD.replace("[set]", "seed = 3\n[set]")]
)
def test_missing_and_other_keys_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.toml").write_text(content)
    with pytest.raises(UserError, match="must have the keys corpus, set, summary, variant, has"):
        load_recipe("bad", tmp_path)
