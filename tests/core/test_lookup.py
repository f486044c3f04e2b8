import pytest

from bench.core.errors import UserError
from bench.core.lookup import check_name, look_up


def test_near_names_come_with_an_unknown_one() -> None:
    table = {"ds-gru": 1, "ds-lstm": 2, "kur-speech": 3}
    assert look_up(table, "ds-gru", "variant") == 1
    with pytest.raises(UserError, match="unknown variant 'ds-gu'; did you mean ds-gru"):
        look_up(table, "ds-gu", "variant")
    with pytest.raises(UserError, match="known: ds-gru, ds-lstm, kur-speech"):
        look_up(table, "zzzzzz", "variant")


@pytest.mark.parametrize(
    "name", ["a", "ds-gru+ds-lstm.an4.quick.1a2b", "Größe_2", "名前", "1", "e\u0301te", "a" * 200]
)
def test_names(name: str) -> None:
    check_name(name, "a study", ("train",))


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../../x", "/tmp/x", "a/b", "a\\b", "-x", ".hidden", "_x", " ", "a b", "a\nb", "a\0b", "a'b", "a:b",
        "\udcff", "a\u200bb", "a\u202eb", "a" * 201, "a" * 300, "名" * 67, "train", "Train", "train\n",
    ],
    ids=ascii,
)  # fmt: skip
def test_no_names(name: str) -> None:
    with pytest.raises(ValueError, match="a study"):
        check_name(name, "a study", ("train",))
