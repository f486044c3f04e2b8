"""The variants under comparison: one frozen spec each, in one written-out table."""

from variants import deepspeech, deepspeech1, deepspeech2, deepspeech_pytorch, kur, mozilla
from variants.spec import VariantSpec


def tabulate(specs: tuple[VariantSpec, ...]) -> dict[str, VariantSpec]:
    """The specs by name, in their order.

    Raises:
        ValueError: two specs of one name.
    """
    table: dict[str, VariantSpec] = {}
    for spec in specs:
        if spec.name in table:
            both = f"{table[spec.name].summary!r} and {spec.summary!r}"
            raise ValueError(f"a variant's name must be its own, got {spec.name!r} twice: {both}")
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
