"""What a study or a system may be called."""

import pytest

from bench.core.names import check_name


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
