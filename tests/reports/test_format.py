import math

import pytest

from reports import format as formats

NAN = math.nan


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.percent(0.1234), "12.3 %"),
        (formats.percent(1.5, 0), "150 %"),
        (formats.percent(NAN), "–"),
        (formats.bare_percent(0.05), "5.0"),
        (formats.points(-0.0512), "−5.1"),
        (formats.points(0.002), "+0.2"),
        (formats.points(0.0), "0.0"),
        (formats.points(-0.0004), "−0.04"),
        (formats.points(0.00004), "+0.004"),
        (formats.points(1e-9), "0.0"),
        (formats.points(NAN), "–"),
        (formats.percent_range(0.1, 0.234), "10.0 to 23.4"),
        (formats.percent_range(NAN, 0.234), "interval unknown"),
        (formats.points_range(-0.0512, 0.002), "−5.1 to +0.2"),
        (formats.points_range(-math.inf, math.inf), "interval unknown"),
        (formats.decimal(-0.504, 2), "−0.50"),
        (formats.count(12345.0), "12,345"),
        (formats.short(29), "29"),
        (formats.short(19_818_029), "19.8 M"),
        (formats.short(1_214_557), "1.21 M"),
        (formats.short(999_950), "1.00 M"),
        (formats.short(5.31e10), "53.1 G"),
        (formats.short(NAN), "–"),
        (formats.duration(7.44), "7.4 s"),
        (formats.duration(9.97), "10 s"),
        (formats.duration(59.7), "1 min 00 s"),
        (formats.duration(245), "4 min 05 s"),
        (formats.duration(3725), "1 h 02 min"),
        (formats.duration(NAN), "–"),
        (formats.p_value(0.0004), "<0.001"),
        (formats.p_value(0.0123), "0.012"),
        (formats.p_value(0.00012, 4), "0.0001"),
        (formats.p_value(0.00001, 4), "<0.0001"),
        (formats.setting(0.00123456), "0.001235"),
        (formats.setting(True), "True"),
        (formats.setting(None), "–"),
        (formats.plural(1, "run"), "1 run"),
        (formats.plural(1200, "entry", "entries"), "1,200 entries"),
        (formats.text(NAN), ""),
        (formats.text("x"), "x"),
    ],
)
def test_format(shown: str, expected: str) -> None:
    assert shown.replace(formats.NBSP, " ") == expected
