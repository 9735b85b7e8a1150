"""The options of ``python -m minigru.exercises``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

COMMAND = "python -m minigru.exercises"
HELP = f"""\
Exercises that grade themselves. Each asks for some lines of minigru/reference.py.

  1. {COMMAND}            lists them, and says which one is next
  2. {COMMAND} G1         writes exercises/G1.py: the function with the lines of (G1) blank
  3. edit the file: replace each ... by the right side of the equation
  4. {COMMAND} G1         grades it, each name apart, to machine precision

A name is graded with the right values of all names before it, so one slip does not make the next line wrong. A slip
that many people make is named: "dgamma_r is wrong; it is what one gets with `c` in place of `c_prev`". When all is
right, the derivation is shown, and the original lines. To begin an exercise anew, remove its file.
"""
STATUS = "exit status: 0 all is right, 1 something is not right, 2 a wrong option or a folder that cannot be used"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the message, and exit with 2."""
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = Parser(
        prog=COMMAND,
        description=HELP,
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="an exercise, such as G1 or peephole")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="grade, and write no new file; without NAME, all files")
    what.add_argument("--hint", action="store_true", help="print a hint")
    what.add_argument("--solution", action="store_true", help="print the lines that solve the exercise")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON; implies --check")
    parser.add_argument(
        "--dir", type=Path, default=Path("exercises"), metavar="DIR", help="your folder (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=seconds, default=30.0, metavar="S", help="seconds for one solution (default: %(default)g)"
    )
    options = parser.parse_args()
    if options.name is None and (options.hint or options.solution):
        parser.error("--hint and --solution need the name of an exercise")
    return options


def seconds(text: str) -> float:
    """Return a number of seconds, given as an option."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value
