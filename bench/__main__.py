"""List the commands: ``python -m bench``."""

import ast
import sys
from pathlib import Path

from bench.core.cli import EXIT_USER_ERROR
from bench.core.lookup import near_names


def verbs() -> dict[str, str]:
    """The first line of each command's docstring, by command; the modules are not imported."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    documented = {f.stem: ast.get_docstring(ast.parse(f.read_text("utf-8"))) for f in files}
    return {verb: text.splitlines()[0] for verb, text in documented.items() if text}


def main(arguments: list[str]) -> int:
    """Print the list; return the exit code."""
    listed = verbs()
    if arguments and arguments[0] not in ("-h", "--help"):
        verb = arguments[0]
        hint = f"write python -m bench.{verb}" if verb in listed else near_names(verb, listed)
        sys.stderr.write(f"error: a command is python -m bench.VERB, got {verb!r}; {hint}\n")
        return EXIT_USER_ERROR
    width = max(map(len, listed))
    for verb, summary in listed.items():
        print(f"  python -m bench.{verb:<{width}}  {summary}")
    print("\nEach lists its flags with --help, and prints JSON with --json.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
