"""The registry of variants: one frozen spec each, listed explicitly."""

from collections.abc import Mapping

from variants import deepspeech, deepspeech1, deepspeech2, deepspeech_pytorch, kur, mozilla
from variants.spec import VariantSpec


def tabulate(specs: tuple[VariantSpec, ...]) -> dict[str, VariantSpec]:
    """The specs by name, in the given order.

    Raises:
        ValueError: two specs have the same name.
    """
    table: dict[str, VariantSpec] = {}
    for spec in specs:
        if spec.name in table:
            both = f"{table[spec.name].summary!r} and {spec.summary!r}"
            raise ValueError(f"names of variants must differ, got {spec.name!r} twice: {both}")
        table[spec.name] = spec
    return table


_FAMILIES = (deepspeech, kur, deepspeech_pytorch, mozilla, deepspeech1, deepspeech2)

VARIANTS = tabulate(tuple(spec for family in _FAMILIES for spec in family.SPECS))


BASES: Mapping[str, str] = {"ds": "ds-gru"}
"""By the name of a family, its base: the variant whose every field a study's file may change."""


def family_file(name: str) -> str:
    """The file that the variant `name` is declared in, such as "variants/kur.py"; "variants" for a
    spec that somebody put into VARIANTS from elsewhere."""
    families = (family for family in _FAMILIES if VARIANTS[name] in family.SPECS)
    family = next(families, None)
    return "variants" if family is None else family.__name__.replace(".", "/") + ".py"
