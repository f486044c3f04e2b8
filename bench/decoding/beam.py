"""CTC prefix beam search with an n-gram (shallow fusion), by flashlight-text.

A text y of the words w_1 … w_n has the score

    log p_CTC(y | x) + alpha (log p_LM(w_1 … w_n </s>)) + beta n

with natural logarithms, p_CTC summed over all alignments (Hannun et al., First-Pass Large
Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs, 2014). Without a
lexicon the language model is over letters, and n counts the spaces.

Of a network that outputs pieces of words p_CTC is that of the text's own pieces (`Units.encode`),
and the search has two passes. flashlight's first one cannot hold the last piece of a word for
several frames, as it can hold the space after a word of letters (see `_held`), so that its sums are
not exact; the second computes log p_CTC(y | x) of each text that the first one found.

Legend: B utterances, C texts, U output frames, V symbols.
"""

import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bench.core.errors import UserError
from bench.data.text import ALPHABET, BLANK, normalize
from bench.data.units import LETTERS, Units, UnitsConfig
from bench.decoding.language_model import SPACE_LETTER, LanguageModel
from bench.decoding.ngram import UNKNOWN

if TYPE_CHECKING:
    from flashlight.lib.text.decoder import DecodeResult

(SPACE,) = LETTERS.encode(" ")
_NEVER = -1e4
"""A log-probability lower than any network's, and finite: sums must not become NaN."""
_SURE = 0.8
"""The probability above which a piece counts as held for another frame."""
_LN_10 = math.log(10)


@dataclass(frozen=True, kw_only=True)
class BeamConfig:
    """The settings of the search."""

    alpha: float = 1.0
    """Weight of the language model's log-probability."""
    beta: float = 1.5
    """Added for each word."""
    width: int = 100
    """Prefixes kept after each frame."""
    num_tokens: int = 16
    """Of a frame only so many symbols are tried, the likeliest."""
    threshold: float = 50.0
    """Prefixes whose score is further below the best are dropped."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for key, least in (("width", 1), ("num_tokens", 1)):
            if getattr(self, key) < least:
                raise ValueError(f"a beam's {key} is at least {least}, got {getattr(self, key)}")
        for each in fields(self):
            if not math.isfinite(getattr(self, each.name)):
                raise ValueError(f"{each.name} is a finite number, got {getattr(self, each.name)}")
        if self.alpha < 0 or self.threshold <= 0:
            raise ValueError(
                f"alpha is at least 0 and threshold above 0, got {self.alpha}, {self.threshold}"
            )


@dataclass(frozen=True)
class Hypothesis:
    """A text with its score; logarithms are natural."""

    text: str
    """Normalised as it is scored."""
    score: float
    ctc: float
    """log p_CTC, of the alignments that the beam kept."""
    lm: float
    """log p_LM, neither weighted nor with bonuses."""


class BeamSearch:
    """A decoder: `BeamSearch(...)(log_probs_BUV, out_lens_B, units)` gives B texts."""

    def __init__(self, config: BeamConfig, model: LanguageModel) -> None:
        """Load `model`.

        Raises:
            UserError: flashlight-text is not installed.
        """
        self.config = config
        self.model = model
        self._graph = _Graph(model)
        self._searches: dict[str, partial[list[DecodeResult]]] = {}

    def with_weights(self, alpha: float, beta: float) -> "BeamSearch":
        """The same search with other weights; shares the language model."""
        made = copy(self)
        made.config, made._searches = replace(self.config, alpha=alpha, beta=beta), {}
        return made

    def check(self, units: UnitsConfig) -> None:
        """Return if the outputs of a network with `units` can be searched.

        Raises:
            UserError: they cannot.
        """
        if units.num_pieces and self.model.facts.unit == "letter":
            raise UserError(
                "--open-vocabulary searches with a language model of letters, the network outputs "
                f"{units.num_pieces} pieces; leave it out, or take a network of letters"
            )

    def __call__(self, log_probs_BUV: Tensor, out_lens_B: Tensor, units: Units) -> list[str]:
        """The best text of each utterance.

        Raises:
            UserError: as `check`.
        """
        host_BUV, lengths = log_probs_BUV.float().cpu(), out_lens_B.tolist()
        return [
            next((h.text for h in self._found(rows_UV[:length], units)), "")
            for rows_UV, length in zip(host_BUV, lengths, strict=True)
        ]

    def nbest(self, log_probs_UV: Tensor, count: int, units: Units) -> list[Hypothesis]:
        """Up to `count` different texts of one utterance, the best first; errors as `check`."""
        found: dict[str, Hypothesis] = {}
        for hypothesis in self._found(log_probs_UV.float().cpu(), units):
            found.setdefault(hypothesis.text, hypothesis)
            if len(found) == count:
                break
        return list(found.values())

    def _found(self, log_probs_UV: Tensor, units: Units) -> Iterable[Hypothesis]:
        """What the beam ends with, the best first; texts may be there several times."""
        self.check(units.config)
        if units.digest not in self._searches:
            self._searches[units.digest] = self._graph.search(self.config, units)
        # One more frame in which only the space is possible: the last word of each prefix then ends
        # like the others, and every alignment goes on in exactly one way, so that no sum changes.
        # Of pieces only the blank.
        last_V = log_probs_UV.new_full((1, units.num_symbols), _NEVER)
        last_V[0, SPACE if units.are_letters else BLANK] = 0.0
        frames_UV = torch.cat([log_probs_UV.clamp(min=_NEVER), last_V])
        given_UV = frames_UV if units.are_letters else torch.cat([frames_UV, _held(frames_UV)], 1)
        results = self._searches[units.digest](given_UV.contiguous())
        found = (self._graph.hypothesis(result, self.config) for result in results)
        return found if units.are_letters else _rescored(list(found), frames_UV, units)


def _rescored(found: list[Hypothesis], log_probs_UV: Tensor, units: Units) -> list[Hypothesis]:
    """`found` with log p_CTC of all alignments of each text's own pieces, the best first."""
    if not found:
        return []
    labels = [torch.tensor(units.encode(h.text), dtype=torch.int64) for h in found]
    losses_C = F.ctc_loss(
        log_probs_UV[:, None].expand(-1, len(found), -1),
        pad_sequence(labels, batch_first=True),
        torch.full((len(found),), len(log_probs_UV)),
        torch.tensor([len(row) for row in labels]),
        blank=BLANK,
        reduction="none",
    )
    # Of the score only the term of CTC changes.
    exact = (
        replace(h, ctc=-loss, score=h.score - h.ctc - loss)
        for h, loss in zip(found, losses_C.tolist(), strict=True)
    )
    return sorted(exact, key=lambda h: h.score, reverse=True)


def _held(log_probs_UV: Tensor) -> Tensor:
    """The log-probability [U, 1] of a symbol that stands for another frame of a word's last piece.

    After a word flashlight allows the blank and one symbol, for letters the space that ends it.
    Pieces have no such symbol, but a piece that surely lasts is the likeliest of two frames in a
    row. Other pieces than it could be held there too, so an unsure one would mislead the search
    (docs/experiments.md).

        frame         0       1          2        3
        likeliest    " the"  " the"     blank    " cat"
        held         never   p(" the")  never    never
    """
    most_U, best_U = log_probs_UV.max(dim=-1)
    lasts_U = (best_U == best_U.roll(1)) & (best_U != BLANK) & (most_U > math.log(_SURE))
    lasts_U[:1] = False
    return torch.where(lasts_U, most_U, _NEVER)[:, None]


class _Graph:
    """flashlight's objects for one language model; they must outlive each search."""

    def __init__(self, model: LanguageModel) -> None:
        require_installed()
        from flashlight.lib.text import decoder, dictionary
        from flashlight.lib.text.decoder.kenlm import KenLM

        self._api = decoder
        self._tries: dict[str, object] = {}
        self._has_words = model.facts.unit == "word"
        self._words = (*model.words, UNKNOWN) if self._has_words else _letters()
        entries = dictionary.Dictionary(list(self._words))
        with _silenced_stderr():
            self._lm = KenLM(str(model.path), entries)

    def _spelled(self, units: Units) -> "object":
        """The prefix tree of the vocabulary's spellings; a word of letters ends with a space."""
        if (known := self._tries.get(units.digest)) is not None:
            return known
        # An utterance can only follow the tree's branches, so only words of the vocabulary come
        # out:
        #
        #     c - a - t - space    "cat"
        #         `-- r - space    "car"
        #
        # Smearing gives each inner node the best unigram score of the words below it, so that a
        # prefix competes by what it may become, and not only once its word is complete.
        trie = self._api.Trie(units.num_symbols + 1, SPACE)
        end = [SPACE] if units.are_letters else []
        start = self._lm.start(False)
        for index, word in enumerate(self._words[:-1]):
            _, score = self._lm.score(start, index)
            trie.insert([*units.encode(word), *end], index, score)
        trie.smear(self._api.SmearingMode.MAX)
        self._tries[units.digest] = trie
        return trie

    def search(self, config: BeamConfig, units: Units) -> "partial[list[DecodeResult]]":
        """The search of frames with `config`: [U, V] of letters, else [U, V + 1] with `_held`."""
        api = self._api
        common = {
            "beam_size": config.width,
            "beam_size_token": min(config.num_tokens, units.num_symbols),
            "beam_threshold": config.threshold,
            # KenLM's logarithms are to the base 10.
            "lm_weight": config.alpha * _LN_10,
            "log_add": True,
            "criterion_type": api.CriterionType.CTC,
        }
        if not self._has_words:
            free = api.LexiconFreeDecoderOptions(**common, sil_score=config.beta)
            return partial(_run, api.LexiconFreeDecoder(free, self._lm, SPACE, BLANK, []))
        options = api.LexiconDecoderOptions(
            # No word comes out that the vocabulary has not, and the space costs nothing: words have
            # the bonus.
            **common,
            word_score=config.beta,
            unk_score=-math.inf,
            sil_score=0.0,
        )
        unknown = len(self._words) - 1
        trie = self._spelled(units)
        space = SPACE if units.are_letters else units.num_symbols  # of `_held`
        made = api.LexiconDecoder(options, trie, self._lm, space, BLANK, unknown, [], False)
        return partial(_run, made)

    def hypothesis(self, result: "DecodeResult", config: BeamConfig) -> Hypothesis:
        """What flashlight found, in our terms."""
        if self._has_words:
            # Places of an alignment at which no word ends hold -1.
            words = [self._words[index] for index in result.words if index >= 0]
            text, num_bonuses = " ".join(words), len(words)
        else:
            symbols = list(_merged(result.tokens))
            text, num_bonuses = normalize(LETTERS.decode(symbols)), symbols.count(SPACE)
        score, lm = float(result.score), float(result.lmScore) * _LN_10
        # flashlight's own emittingModelScore is that of the best alignment alone.
        # Of the score the terms of the language model are subtracted; what is left is log p_CTC.
        ctc = score - config.alpha * lm - config.beta * num_bonuses
        return Hypothesis(text, score, ctc, lm)


def install_command() -> str:
    """What to do where flashlight-text is missing."""
    if sys.version_info >= (3, 13):
        return "it has wheels up to Python 3.12 only: make the environment with that"
    return "run: pip install 'deepspeech-bench[lm]'"


def is_installed() -> bool:
    """Whether `BeamSearch` can be made here."""
    try:
        import_module("flashlight.lib.text.decoder.kenlm")
    except ImportError:
        return False
    return True


def require_installed() -> None:
    """Return if `BeamSearch` can be made here.

    Raises:
        UserError: it cannot.
    """
    if not is_installed():
        raise UserError(f"--decoder beam needs flashlight-text; {install_command()}")


def _letters() -> tuple[str, ...]:
    """The alphabet's symbols at their indices, as the model over letters names them; what is never
    asked for is unknown."""
    return (UNKNOWN, *ALPHABET.replace(" ", SPACE_LETTER))


def _merged(tokens: list[int]) -> Iterator[int]:
    """The symbols of an alignment: repeats merged, blanks removed."""
    before = BLANK
    for token in tokens:
        if token not in (before, BLANK):
            yield token
        before = token


def _run(search: "object", frames_UV: Tensor) -> "list[DecodeResult]":
    found: list[DecodeResult] = search.decode(  # type: ignore[attr-defined]
        frames_UV.data_ptr(), *frames_UV.shape
    )
    return found


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Without what KenLM's C++ prints while it loads."""
    sys.stderr.flush()
    # Of the process, not of Python: C++ writes to descriptor 2.
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
