import pytest

from bench.core.errors import UserError
from bench.core.lookup import look_up


def test_near_names_come_with_an_unknown_one() -> None:
    table = {"ds-gru": 1, "ds-lstm": 2, "kur-speech": 3}
    assert look_up(table, "ds-gru", "variant") == 1
    with pytest.raises(UserError, match="unknown variant 'ds-gu'; did you mean ds-gru"):
        look_up(table, "ds-gu", "variant")
    with pytest.raises(UserError, match="known: ds-gru, ds-lstm, kur-speech"):
        look_up(table, "zzzzzz", "variant")
