"""Recognition of audio that arrives chunk by chunk: samples in, partial and final texts out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.data.streaming import FeatureStream
from bench.data.text import normalize
from bench.data.units import Units
from bench.decoding.greedy import Frame, IncrementalGreedy
from bench.training.checkpoint import TrainedNetwork
from bench.training.device import autocast, default_precision, exact_float32


@dataclass(frozen=True, kw_only=True)
class EndpointRule:
    """When a text is final.

    After a symbol, `blank_seconds` of frames whose best symbol is the blank end the text. A text
    that lasts longer than `max_seconds` ends at its next space, so that memory stays constant.
    """

    blank_seconds: float = 0.8
    max_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.blank_seconds > 0 or not self.max_seconds > 0:
            raise ValueError(f"times of an endpoint must be above 0 seconds, got {self}")


@dataclass(frozen=True)
class Words:
    """Words, and when the output frame of the last symbol of each begins."""

    texts: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()

    @classmethod
    def of(cls, symbols: Iterable[Frame], seconds_per_frame: float) -> "Words":
        """The words of `symbols`, normalised."""
        texts: list[str] = []
        seconds: list[float] = []
        raw, last = "", 0
        for frame in [*symbols, Frame(0, False, " ")]:
            if frame.symbol.startswith(" "):  # a space between words, or a piece that begins one
                for text in normalize(raw).split():
                    texts.append(text)
                    seconds.append(last * seconds_per_frame)
                raw = ""
            if letters := frame.symbol.lstrip():
                raw, last = raw + letters, frame.number
        return cls(tuple(texts), tuple(seconds))

    @classmethod
    def spelled(cls, log_probs_UV: Tensor, seconds_per_frame: float, units: Units) -> "Words":
        """The words of the best path, in `units`."""
        frames = IncrementalGreedy(units).push(log_probs_UV)
        return cls.of([frame for frame in frames if frame.symbol], seconds_per_frame)

    def __add__(self, other: "Words") -> "Words":
        return Words(self.texts + other.texts, self.seconds + other.seconds)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A text of a part of the stream; times are seconds from the stream's beginning."""

    words: Words
    is_final: bool
    """Later texts are about later audio; False: the next text replaces this one."""
    start_seconds: float
    """Of its first symbol."""
    end_seconds: float
    """Of its last symbol."""

    @property
    def text(self) -> str:
        """The words in one line."""
        return " ".join(self.words.texts)


class Recogniser:
    """A network that listens. Its numbers are those of the whole audio, so the final texts are
    together the text of the whole."""

    def __init__(
        self,
        trained: TrainedNetwork,
        device: torch.device,
        endpoint: EndpointRule | None = None,
    ) -> None:
        """The network is on `device`.

        Raises:
            UserError: the network or its features cannot stream.
        """
        model, config = trained.network, trained.config
        if model.cannot_stream is not None:
            raise UserError(
                f"{config.variant} cannot stream: {model.cannot_stream}; use a variant in one "
                "direction, or transcribe without --stream"
            )
        self._features = FeatureStream(config.features, trained.stats)
        self._stream = model.stream()
        self._device = device
        self._greedy = IncrementalGreedy(trained.units)
        self._endpoint = endpoint or EndpointRule()
        frames_per_second = config.features.frames_per_second
        self.seconds_per_frame = self._stream.stride / frames_per_second
        """Of an output frame."""
        # The last frame of features that an output frame reads is a window of audio itself.
        window_seconds = config.features.window_ms / 1000
        self.look_ahead_seconds = self._stream.look_ahead_frames / frames_per_second
        self.look_ahead_seconds += window_seconds
        """The most audio, from the beginning of an output frame on, that it waits for."""
        self.mean_look_ahead_seconds = self._stream.mean_look_ahead_frames / frames_per_second
        self.mean_look_ahead_seconds += window_seconds
        """Its mean over output frames."""
        self._symbols: list[Frame] = []
        self._num_blanks = 0
        self._last_partial = ""

    def push(self, samples_N: Tensor, *, is_last: bool = False) -> list[Heard]:
        """What `samples_N`, float32 at the config's rate, adds: final texts, then perhaps a partial
        one. Texts without a letter are left out, and a partial that equals the one before."""
        heard: list[Heard] = []
        for frame in self._greedy.push(self.log_probs(samples_N, is_last=is_last)):
            heard += self._add(frame)
        if is_last:
            return heard + list(self._end())
        partial = self._text()
        if partial and partial.text != self._last_partial:
            self._last_partial = partial.text
            heard.append(partial)
        return heard

    @torch.inference_mode()
    @exact_float32()
    def log_probs(self, samples_N: Tensor, *, is_last: bool) -> Tensor:
        """Log-probabilities [U, V] of the output frames that `samples_N` completes."""
        feats_TF = self._features.push(samples_N, is_last=is_last)
        with autocast(self._device, default_precision(self._device)):
            return self._stream.push(feats_TF.to(self._device), is_last=is_last)

    def _add(self, frame: Frame) -> Iterator[Heard]:
        # Best symbols of frames, "-" for the blank; with an endpoint after four blanks:
        #
        #     i - t - ' s - - - - | - - n o - w - - - -
        #     partial texts ...   final                final
        self._num_blanks = self._num_blanks + 1 if frame.is_blank else 0
        rule, seconds = self._endpoint, self.seconds_per_frame
        first = self._symbols[0].number if self._symbols else frame.number
        is_long = (frame.number - first) * seconds > rule.max_seconds
        if is_long and frame.symbol.startswith(" "):
            yield from self._end()
            frame = replace(frame, symbol=frame.symbol.lstrip())  # a piece begins the next text
        if frame.symbol:
            self._symbols.append(frame)
        if self._symbols and self._num_blanks * seconds >= rule.blank_seconds:
            yield from self._end()

    def _end(self) -> Iterator[Heard]:
        final = self._text(is_final=True)
        self._symbols, self._last_partial = [], ""
        if final:
            yield final

    def _text(self, *, is_final: bool = False) -> Heard | None:
        words = Words.of(self._symbols, self.seconds_per_frame)
        if not words.texts:
            return None
        first, last = self._symbols[0].number, self._symbols[-1].number
        return Heard(
            words=words,
            is_final=is_final,
            start_seconds=first * self.seconds_per_frame,
            end_seconds=(last + 1) * self.seconds_per_frame,
        )
