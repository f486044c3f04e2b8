"""The definition of a variant: a name, a frozen config of plain values, a network builder."""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from variants.streaming import Stage, Stream

BLANK = 0
"""Index of CTC's blank among the output symbols."""


class AcousticModel(nn.Module):
    """The interface of every network: features in, log-probabilities out.

    Shapes: B batch, T input frames, F feature bins, U output frames, V symbols (blank is 0).
    """

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (log_probs_BUV float32, out_lens_B int64 frames).

        Valid output frames do not depend on the padding. Output frames past an utterance's length
        are unspecified, but finite.
        """
        raise NotImplementedError

    output: nn.Linear
    """The last layer; its outputs are the symbols."""
    cannot_stream: str | None = "its family has no streaming form"
    """Why `stream` is impossible, in words; None if it is possible."""
    chunk_frames = 1
    """Output frames that are computed together: costs grow in steps of that many."""

    def stream(self) -> Stream:
        """The beginning of an utterance that is read chunk by chunk, in evaluation mode.

        Raises:
            ValueError: the network cannot stream.
        """
        if self.cannot_stream is not None:
            raise ValueError(f"the network must be one that streams, but {self.cannot_stream}")
        return Stream(self.stages(), self.output.out_features)

    def stages(self) -> list[Stage]:
        """The network of `stream` as a chain; of those that stream."""
        raise NotImplementedError

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """Output frames for numbers of input frames (int64), without running the network."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class VariantSpec:
    """One row of the registry."""

    name: str
    summary: str
    """One line for `bench.ls`."""
    source: str
    """Paper, repository or file that describes the variant."""
    config: Any
    """A frozen dataclass of plain values; a variant is a base config plus its difference."""
    build: Callable[[Any, int, int], AcousticModel]
    """``build(config, num_bins, num_symbols)``: the network, initialised from torch's global
    generator. Raises ValueError if the config needs more bins."""
    features: Mapping[str, object] = field(default_factory=dict)
    """Feature settings that differ from the defaults."""


SPECTROGRAM: Mapping[str, object] = {
    "kind": "log_spectrogram", "num_bins": 161, "window_ms": 20.0, "hop_ms": 10.0,
}  # fmt: skip
"""The features of most published networks: the bins of a 20 ms window, every 10 ms."""
MAX_LAYERS = 1_000
"""Far above any useful depth; catches typing errors before the network is built."""


def check_choices(config: object) -> None:
    """Raise ValueError unless each field of the dataclass `config` whose type is a Literal has one
    of its values."""
    for name, kind in get_type_hints(type(config)).items():
        value, choices = getattr(config, name), get_args(kind)
        if get_origin(kind) is Literal and value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_range(
    config: object,
    *names: str,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Raise ValueError unless each named field of `config` is within the limits, or None.

    An infinite limit `below` refuses infinity.
    """
    limits = (
        ("at least", at_least, operator.ge),
        ("above", above, operator.gt),
        ("at most", at_most, operator.le),
        ("below", below, operator.lt),
    )
    given = [(words, limit, holds) for words, limit, holds in limits if limit is not None]
    for name in names:
        value = getattr(config, name)
        # NaN is within no limit.
        if value is not None and not all(holds(value, limit) for _, limit, holds in given):
            finite = [f"{words} {limit}" for words, limit, _ in given if limit != math.inf]
            raise ValueError(f"{name} must be {' and '.join(finite)}, got {value}")
