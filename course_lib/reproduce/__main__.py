"""`python -m course_lib.reproduce NAME`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from course_lib.reproduce import (
    adversarial,
    ascent,
    dream,
    features,
    gallery,
    green,
    grids,
    inversion,
    perceptual,
    pointing,
    random_styles,
    random_textures,
    random_weights,
)

TABLES = (
    inversion,
    random_weights,
    random_textures,
    random_styles,
    grids,
    green,
    perceptual,
    pointing,
    ascent,
    gallery,
    features,
    adversarial,
    dream,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one table.

    Args:
        arguments: The words of the command line; by default those of the process.

    Raises:
        SystemExit: Arguments that do not fit, after a message that says which.
    """
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.reproduce", description="The papers' tables, recomputed."
    )
    tables = parser.add_subparsers(dest="table", required=True)
    for module in TABLES:
        module.add_parsers(tables)
    for name, one in tables.choices.items():
        one.add_argument(
            "--out",
            type=Path,
            default=Path(f"{name}-results"),
            help="folder for the results; a run that was stopped goes on there",
        )
    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on from what is in {given.out}")


if __name__ == "__main__":
    main()
