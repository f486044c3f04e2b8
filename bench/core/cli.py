"""What the commands share: flags, help that begins with an example, exit codes.

A command's flags are in ``bench/flags/VERB.py``, which imports nothing that takes time, and what it
does is in ``bench/VERB.py``. Run as a program, the latter begins with `start`: so help and usage
errors come at once, and an interrupt while libraries are imported ends as any other.
"""

import argparse
import importlib
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from bench.core.console import STDERR, set_up_logging
from bench.core.errors import DISK_IS_FULL, NoVerdictError, TemporaryError, UserError
from bench.core.interrupt import EXIT_INTERRUPTED, raised, tell
from bench.core.masking import mask

EXIT_BUG = 1
EXIT_NO_VERDICT = 1
EXIT_USER_ERROR = 2
EXIT_START_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h; supervisors start the command again."""

MATCH_FORM = "params=N|macs=N"
"""What ``--match`` takes."""


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
    default: str | None = "spoken",
    otherwise: str = "the one it was trained on",
) -> None:
    """``--corpus``, ``--channel``, ``--text`` and ``--audio``; `otherwise` says what the corpus is
    without a default."""
    add_corpus_place(command, default, f"default: {default or otherwise}")
    command.add_argument(
        "--text",
        choices=("error", "drop"),
        default="error",
        help="an utterance with symbols outside the alphabet: stop, or leave it out "
        "(default: error)",
    )
    command.add_argument(
        "--audio",
        choices=("error", "drop"),
        default="error",
        help="an utterance whose recording cannot be decoded to its end: stop, or leave it out "
        "(default: error)",
    )


def add_corpus_place(command: argparse.ArgumentParser, default: str | None, note: str) -> None:
    """``--corpus`` and ``--channel``; `note` says what the corpus is without a default."""
    command.add_argument(
        "--corpus",
        default=default,
        metavar="NAME[:PATH]",
        help="spoken, spoken-tiny, an4[:PATH], librispeech:PATH, manifest:PATH, commonvoice:PATH, "
        f"kaldi:PATH ({note})",
    )
    command.add_argument(
        "--channel", type=int, help="the channel to use of stereo recordings (0, 1)"
    )


def add_checkpoint(command: argparse.ArgumentParser) -> None:
    """``--checkpoint`` and ``--study``."""
    command.add_argument("--checkpoint", type=Path, metavar="FILE", help="a best.pt or last.pt")
    command.add_argument("--study", help="its best confirm run (default: the newest study)")


def add_device(command: argparse.ArgumentParser) -> None:
    """``--device``."""
    command.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto"
    )


def add_audio(command: argparse.ArgumentParser) -> None:
    """``--no-audio``."""
    command.add_argument(
        "--no-audio",
        action="store_false",
        dest="recordings",
        help="put no recording into the report (default: a few test utterances)",
    )


def add_settings(command: argparse.ArgumentParser) -> None:
    """``--set``, ``--deterministic`` and ``--seed``."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="change one config value, such as optim.learning_rate=3e-4 or model.width=128",
    )
    command.add_argument(
        "--deterministic",
        action="append_const",
        const="training.deterministic=true",
        dest="settings",
        help="refuse kernels whose sums come out in another order each time (a CPU has none here)",
    )
    command.add_argument("--seed", type=int, default=0, help="default: 0")


def print_json(value: Any) -> None:
    """`value` on stdout, for a program to read; what JSON lacks (NaN, infinity) becomes null."""
    print(json.dumps(_without_nan(value), indent=1, ensure_ascii=False, allow_nan=False))


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def start(verb: str, parser: argparse.ArgumentParser) -> NoReturn:
    """``python -m bench.VERB``: parse the arguments, then import the module and run its `main`.

    The module is the one that calls this; what stands below the call is not run as a program, but
    imported.
    """
    run(parser, lambda options: importlib.import_module(f"bench.{verb}").main(options))
    sys.exit()


def run(verb: argparse.ArgumentParser, main: Callable[[argparse.Namespace], None]) -> None:
    """Parse the arguments, run `main`, and leave the process with the exit code that its end calls
    for.

    0: done; 1: done, but nothing can be concluded; 2: the user's mistake or a full disk; 75:
    stopped from outside, start it again; 130: interrupted. Each but 0 with one line on stderr. A
    bug keeps its traceback and ends with 1. What is printed is masked.
    """
    options = verb.parse_args()
    set_up_logging(-1 if options.quiet else options.verbose)
    try:
        with raised():
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
        # The reader of stdout went away (`| head`); point stdout elsewhere so that exit stays
        # silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_IS_FULL:
            what = error.filename or "a file"
            _stop_with(f"{what} cannot be written ({error.strerror}); make room and run it again")
        # Some library may quote the address that it was given, password and all.
        sys.stderr.write(mask(traceback.format_exc()))
        sys.exit(EXIT_BUG)


def _stop_with(message: str, code: int = EXIT_USER_ERROR) -> NoReturn:
    STDERR.print(f"error: {mask(message)}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)
