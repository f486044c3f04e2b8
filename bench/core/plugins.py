"""What installed packages add to the project, by their entry points; imports none of them."""

from importlib.metadata import EntryPoint, entry_points

from bench.core.errors import UserError

VARIANTS_GROUP = "deepspeech_bench.variants"
"""An entry point of this group has a variant's name and leads to its `VariantSpec`."""


def installed_variants() -> dict[str, EntryPoint]:
    """The variants that installed packages declare, by name.

    Raises:
        UserError: two packages declare one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=VARIANTS_GROUP), key=lambda entry: entry.name):
        other = found.setdefault(entry.name, entry)
        if (other.value, distribution(other)) != (entry.value, distribution(entry)):
            raise UserError(
                f"names of variants must differ, {distribution(other)} and {distribution(entry)} "
                f"both declare {entry.name!r}; uninstall one of them"
            )
    return found


def distribution(entry: EntryPoint) -> str:
    """Name and version of the package that declares `entry`."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package without a name"
