"""The registry of variants: one frozen spec each, listed explicitly."""

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


VARIANTS = tabulate(
    (
        *deepspeech.SPECS,
        *kur.SPECS,
        *deepspeech_pytorch.SPECS,
        *mozilla.SPECS,
        *deepspeech1.SPECS,
        *deepspeech2.SPECS,
    )
)
