"""What the scripts share: options that explain themselves, and errors in one sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence on stderr, with exit status 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the message and where to read on, and exit."""
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def run(
    main: Callable[[], int], expected: tuple[type[BaseException], ...], failed: tuple[type[BaseException], ...]
) -> NoReturn:
    """Exit with what ``main()`` returns; with 2 for an `expected` error, 1 for a `failed` run, 130 for Ctrl-C."""
    try:
        sys.exit(main())
    except expected as error:
        status, message = 2, str(error)
    except failed as error:
        status, message = 1, str(error)
    except KeyboardInterrupt:
        status, message = 130, "interrupted"
    print(f"{sys.argv[0].rpartition('/')[2]}: {message}", file=sys.stderr)
    sys.exit(status)
