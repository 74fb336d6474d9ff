"""Runs that are stored as they end, so that a table that was stopped goes on."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from torch import Tensor

from course_lib import data, world
from course_lib.errors import require

SEED = 9_000  # of the drawn scenes, where no folder is given
Run = TypeVar("Run", bound=NamedTuple)


def stored(path: Path, kind: type[Run], title: str) -> list[Run]:
    """The runs that an earlier call stored in a file; where there is no file, a new one without runs is made.

    Args:
        path: The CSV file, whose first line says what its runs are of.
        kind: The class of a run: a NamedTuple of str, int and float.
        title: What the first line must say, or will say.

    Returns:
        The runs in the order of the file; a last line that was cut off is dropped, from the file too.

    Raises:
        ValueError: The file has another title.
    """
    fields = get_type_hints(kind)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {title}\n{','.join(fields)}\n")
        return []
    lines = path.read_text().splitlines()
    require(lines[:1] == [f"# {title}"], f"{path} holds {lines[0][2:] if lines else 'nothing'}; choose another --out")
    whole = [line for line in lines[2:] if len(next(csv.reader([line]), [])) == len(fields)]  # a crash may cut the last
    path.write_text("\n".join([*lines[:2], *whole, ""]))
    return [kind(*(of(text) for of, text in zip(fields.values(), row, strict=True))) for row in csv.reader(whole)]


def keep(path: Path, run: NamedTuple) -> None:
    """Add one run to the file.

    Args:
        path: The CSV file, from `stored`.
        run: The run, a NamedTuple with the columns as its fields.
    """
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(run)


def tabulate(path: Path, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of a table to a CSV file, and print them.

    Args:
        path: The CSV file, which is written anew.
        title: What the table is; printed above the rows and not written.
        rows: At least one row {column: value}, all with the columns of the first.
    """
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    print(title)
    for row in rows:
        print(
            "  ".join(f"{name} {value:.4g}" if isinstance(value, float) else str(value) for name, value in row.items())
        )


def images(folder: Path | None, count: int, size: int) -> Tensor:
    """The first images of a folder, or drawn scenes.

    Args:
        folder: A folder of images; None for drawn scenes.
        count: How many images.
        size: Height and width in pixels.

    Returns:
        (count, 3, size, size) in [0, 1].

    Raises:
        FileNotFoundError: There is no such folder.
        NotADirectoryError: It is a file.
        ValueError: A folder with fewer images, or with a file that cannot be read.
    """
    if folder is None:
        return world.draw(count, seed=SEED, size=size).images
    files = data.folder(folder)
    require(len(files) >= count, f"{folder} holds {len(files)} images, fewer than --count {count}")
    return data.pick(files, range(count), size)
