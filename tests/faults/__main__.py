"""`python -m tests.faults --seed 7 --faults 100`: faults of many kinds, and a table by kind."""

import argparse
import signal
import sys

from bench.runs import set_mlflow_defaults

set_mlflow_defaults()  # before mlflow is imported
from tests.faults.suite import run  # noqa: E402


def main() -> int:
    """0 if every invariant held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="of every draw (default: 7)")
    parser.add_argument("--faults", type=int, default=100, help="to inject (default: 100)")
    parser.add_argument("--corpus", default="spoken-tiny", help="default: spoken-tiny")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # services end too
    tally = run(options.seed, options.faults, options.corpus, lambda line: print(line, flush=True))
    minutes = tally.seconds / 60
    print(f"\nseed {options.seed}, {tally.num_rounds} rounds, {minutes:.0f} minutes\n")
    print(tally.as_markdown())
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
