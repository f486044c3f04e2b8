"""Common parts of the commands: flags, help that begins with examples, exit codes.

A command's flags are in ``bench/flags/VERB.py``, which imports nothing slow; its implementation is
in ``bench/VERB.py``. Run as a program, ``bench/VERB.py`` begins with `start`, so that help and
usage errors come at once, and Ctrl-C during imports ends the command without a traceback.
"""

import argparse
import importlib
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from bench.core.console import print_error, set_up_logging
from bench.core.errors import (
    DISK_IS_FULL,
    NOT_WRITABLE,
    NoVerdictError,
    TemporaryError,
    UserError,
)
from bench.core.interrupt import EXIT_INTERRUPTED, raised, tell
from bench.core.masking import mask
from bench.core.memory import as_exhausted, check_address_space

EXIT_BUG = 1
EXIT_NO_VERDICT = 1
EXIT_USER_ERROR = 2
EXIT_START_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h, after which supervisors start the command again."""

DEFAULT_CORPUS = "spoken"
DEFAULT_BUDGET = "quick"
MATCH_FORM = "params=N|macs=N"
"""The form of the value of ``--match``."""


def parser(verb: str, summary: str, *examples: str) -> argparse.ArgumentParser:
    """A parser for ``python -m bench.VERB`` whose help begins with `examples`."""
    shown = "\n".join(f"  python -m bench.{verb} {example}".rstrip() for example in examples)
    made = argparse.ArgumentParser(
        prog=f"python -m bench.{verb}",
        usage=argparse.SUPPRESS,
        description=f"{shown}\n\n{summary}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("-v", "--verbose", action="count", default=0, help="more detail (-vv: more)")
    made.add_argument("-q", "--quiet", action="store_true", help="warnings and results only")
    made.add_argument("--json", action="store_true", help="results as JSON on stdout")
    return made


def add_corpus(
    command: argparse.ArgumentParser,
    default: str | None = DEFAULT_CORPUS,
    otherwise: str = "the one it was trained on",
) -> None:
    """Add the flags of a corpus; `otherwise` describes the one that is used without ``--corpus`` if
    there is no `default`."""
    add_corpus_place(command, default, f"default: {default or otherwise}")
    command.add_argument(
        "--text",
        choices=("error", "drop"),
        default="error",
        help="utterances with symbols outside the alphabet: stop with an error, or leave them out "
        "(default: error)",
    )
    command.add_argument(
        "--audio",
        choices=("error", "drop"),
        default="error",
        help="utterances whose recording cannot be decoded to its end: stop with an error, or "
        "leave them out (default: error)",
    )


def add_corpus_place(command: argparse.ArgumentParser, default: str | None, note: str) -> None:
    """Add ``--corpus``, ``--channel`` and ``--columns``; `note` says what holds without them."""
    command.add_argument(
        "--corpus",
        default=default,
        metavar="NAME[:PATH][+…]",
        help="spoken, spoken-tiny, an4[:PATH], librispeech:PATH, manifest:PATH, commonvoice:PATH, "
        "kaldi:PATH, hf:PATH, lhotse:PATH, or several joined, as in an4+spoken: trained on all, "
        f"chosen and tested on the first ({note})",
    )
    add_channel(command)
    command.add_argument(
        "--columns",
        metavar="OURS=THEIRS,…",
        help="other names of the columns audio, text, speaker, id and split of manifest and hf, "
        "such as text=sentence",
    )


def add_checkpoint(command: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint`` and ``--study``."""
    command.add_argument("--checkpoint", type=Path, metavar="FILE", help="a best.pt or last.pt")
    command.add_argument(
        "--study", help="use the best confirm run of this study (default: the newest study)"
    )


def add_device(command: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    command.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto is the GPU if torch finds one (default: auto)",
    )


def add_gpus_per_run(command: argparse.ArgumentParser) -> None:
    """Add ``--gpus-per-run``, as `num_ranks`."""
    command.add_argument(
        "--gpus-per-run",
        type=whole_number("--gpus-per-run", least=1, most=MAX_RANKS),
        default=1,
        dest="num_ranks",
        metavar="N",
        help="GPUs that divide each batch of a run among them, by torch's DistributedDataParallel; "
        "several runs at once use them better, where the network fits (default: 1; on a CPU as "
        "many processes)",
    )


def add_audio(command: argparse.ArgumentParser) -> None:
    """Add ``--no-audio``."""
    command.add_argument(
        "--no-audio",
        action="store_false",
        dest="recordings",
        help="embed no recordings in the report (default: a few test utterances)",
    )


def add_decoder(command: argparse.ArgumentParser, *, weights: bool) -> None:
    """Add ``--decoder`` and the flags of the beam search; with `weights` also ``--alpha`` and
    ``--beta``, which a sweep searches."""
    command.add_argument(
        "--decoder",
        choices=("greedy", "beam"),
        help="beam searches with a language model and needs the extra [lm] (default: greedy)",
    )
    command.add_argument(
        "--lm",
        type=Path,
        metavar="FILE",
        help="a language model of words in ARPA format (default: made of the training transcripts)",
    )
    command.add_argument(
        "--lm-text",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="more text for the language model, a sentence a line; may be repeated",
    )
    command.add_argument(
        "--lm-order",
        type=whole_number("--lm-order", least=2, most=6),
        metavar="N",
        help="words of an n-gram (default: 3)",
    )
    command.add_argument(
        "--open-vocabulary",
        action="store_true",
        help="a language model of letters, so that words that it does not know can come out",
    )
    command.add_argument(
        "--beam-width",
        type=whole_number("--beam-width", least=1, most=100_000),
        metavar="N",
        help="prefixes kept after each frame (default: 100)",
    )
    if weights:
        _add_weight(command, "--alpha", 0.0, "weight of the language model")
        _add_weight(command, "--beta", -math.inf, "bonus of each word")


def _add_weight(command: argparse.ArgumentParser, flag: str, least: float, what: str) -> None:
    command.add_argument(
        flag,
        type=real_number(flag, least=least),
        metavar="X",
        help=f"{what} (default: what the study's search found, or else a usual value)",
    )


def add_set(command: argparse.ArgumentParser) -> None:
    """Add ``--set``."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="set a config value, such as optim.learning_rate=3e-4 or model.width=128; may be "
        "repeated",
    )


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add ``--set``, ``--deterministic`` and ``--seed``."""
    add_set(command)
    command.add_argument(
        "--deterministic",
        action="append_const",
        const="training.deterministic=true",
        dest="settings",
        help="use only deterministic algorithms, slower on CUDA (results on a CPU always are)",
    )
    add_seed(command)


def add_seed(command: argparse.ArgumentParser, what: str = "") -> None:
    """Add ``--seed``; `what` describes its use."""
    command.add_argument(
        "--seed",
        type=whole_number("--seed", least=0, most=MAX_SEED),
        default=0,
        help=f"{what} (default: 0)" if what else "default: 0",
    )


def add_channel(command: argparse.ArgumentParser) -> None:
    """Add ``--channel``."""
    command.add_argument(
        "--channel",
        type=whole_number("--channel", least=0),
        help="the channel to use of recordings with several, from 0",
    )


def print_json(value: object) -> None:
    """Print `value` as JSON on stdout; NaN and infinity, which JSON lacks, become null."""
    print(json.dumps(_without_nan(value), indent=1, ensure_ascii=False, allow_nan=False))


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def whole_number(
    flag: str, *, least: int | None = None, most: int | None = None
) -> Callable[[str], int]:
    """The type of `flag` for argparse: a whole number from `least` to `most`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise UserError(f"{flag} must be a whole number, got {text!r}; {_WAY_OUT}") from error
        if least is not None and value < least:
            raise UserError(f"{flag} must be at least {least}, got {value}; {_WAY_OUT}")
        if most is not None and value > most:
            raise UserError(f"{flag} must be at most {most}, got {value}; {_WAY_OUT}")
        return value

    return read


def real_number(
    flag: str, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> Callable[[str], float]:
    """The type of `flag` for argparse: a finite number from `least` to `most`, greater than
    `above`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            raise UserError(f"{flag} must be a number, got {text!r}; {_WAY_OUT}") from error
        if not math.isfinite(value):
            raise UserError(f"{flag} must be finite, got {text}; {_WAY_OUT}")
        for holds, rule in (
            (value >= least, f"at least {least:g}"),
            (value > above, f"above {above:g}"),
            (value <= most, f"at most {most:g}"),
        ):
            if not holds:
                raise UserError(f"{flag} must be {rule}, got {text}; {_WAY_OUT}")
        return value

    return read


_WAY_OUT = "leave it out for the default"
MAX_RANKS = 1024
MAX_SEED = 2**53
"""JSON represents whole numbers up to this exactly."""


def parse(verb: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse `arguments` with the parser `verb`.

    Raises:
        UserError: an argument is empty, not UTF-8, or holds a NUL; a flag refuses its value.
        SystemExit: argparse refuses the arguments and has printed why.
    """
    for before, argument in pairwise(["", *arguments]):
        flag, equals, value = argument.partition("=")
        if not argument or (equals and not value and flag.startswith("--")):
            named = flag or before or "an argument"
            raise UserError(f"{named} has an empty value; give one, or leave it out")
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"an argument must be UTF-8, got {argument!r}; rename it") from error
        if "\0" in argument:
            raise UserError(f"an argument holds no NUL, got {argument!r}; remove it")
    return verb.parse_args(arguments)


def start(verb: str, parser: argparse.ArgumentParser) -> NoReturn:
    """``python -m bench.VERB``: parse the arguments, then import the module and run its `main`.

    Called at the top of that module when it runs as ``__main__``. The rest of the module is not
    executed there, but in the import.
    """
    run(parser, lambda options: importlib.import_module(f"bench.{verb}").main(options))
    sys.exit()


def run(verb: argparse.ArgumentParser, main: Callable[[argparse.Namespace], None]) -> None:
    """Parse the arguments, run `main`, and exit with a status for each kind of end.

    0: done; 1: done, but no conclusion is possible; 2: a mistake of the user, or the disk or memory
    is full; 75: stopped from outside, the same command resumes; 130: interrupted by Ctrl-C. All
    but 0 print one line on stderr. A bug exits with 1 and a traceback. Passwords in messages are
    masked.
    """
    try:
        options = parse(verb, sys.argv[1:])
        set_up_logging(-1 if options.quiet else options.verbose)
        with raised():
            check_address_space()
            main(options)
    except UserError as error:
        _stop_with(str(error))
    except NoVerdictError as error:
        _stop_with(str(error), EXIT_NO_VERDICT)
    except TemporaryError as error:
        _stop_with(str(error), EXIT_START_AGAIN)
    except KeyboardInterrupt:
        tell()
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of stdout has closed it (`| head`). Python flushes stdout at exit, which must
        # not raise again, so stdout is redirected to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if (words := _reason_of_the_machine(error)) is not None:
            _stop_with(words)
        # A library's error message may quote an address with its password.
        sys.stderr.write(mask(traceback.format_exc()))
        sys.exit(EXIT_BUG)


def _reason_of_the_machine(error: Exception) -> str | None:
    """The message for an error of the machine (disk, memory, permissions); None for others."""
    if (exhausted := as_exhausted(error)) is not None:
        return str(exhausted)
    if not isinstance(error, OSError):
        return None
    what = error.filename or "a file"
    if error.errno in DISK_IS_FULL:
        return f"{what} cannot be written ({error.strerror}); make room and run it again"
    if error.errno in NOT_WRITABLE:
        return f"{what}: {error.strerror}; change its permissions, or name another"
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return f"a temporary folder must be writable ({error.strerror}); set TMPDIR to one that is"
    return None


def _stop_with(message: str, code: int = EXIT_USER_ERROR) -> NoReturn:
    print_error(mask(message))
    sys.exit(code)
