"""Under each figure of an assignment, folded: what the solution drew and printed, small.

python -m tools.thumbnails EXECUTED ...

EXECUTED is a run of a solution, a notebook with its outputs; its file or its folder bears the assignment's name. The
solution in the repository gets the thumbnails, and `python -m course_lib.grading release` hands them to the students.
"""

import argparse
import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from project.repository import ROOT

WIDTH, QUALITY = 360, 60  # pixels, and JPEG's own scale
FOLDED = "<details><summary>What we got</summary>"
DRAWS = ("plotting.pictures(", "plotting.chart(")
Cell = dict[str, Any]


def text(cell: Cell) -> str:
    """The text of a notebook's cell."""
    return "".join(cell["source"])


def draws(cell: Cell) -> bool:
    """Whether a cell makes a figure."""
    return cell["cell_type"] == "code" and any(call in text(cell) for call in DRAWS)


def small(png: bytes) -> str:
    """A figure as the base64 of a small JPEG."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((WIDTH, 4 * WIDTH))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def reference(cell: Cell) -> Cell:
    """The folded cell for a cell that was run."""
    figures = [
        data[kind]
        for output in cell["outputs"]
        for data in [output.get("data", {})]
        for kind in ("image/png", "image/jpeg")
        if kind in data
    ]
    printed = "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")
    parts = [FOLDED, ""]
    if printed.strip():
        parts += ["```text", printed.rstrip(), "```", ""]
    parts += [
        f"![the figure of the cell above](data:image/jpeg;base64,{small(base64.b64decode(one))})" for one in figures
    ]
    source = "\n".join([*parts, "", "</details>"])
    return {
        "cell_type": "markdown",
        "id": f"{cell['id']}-got",
        "metadata": {},
        "source": source.splitlines(keepends=True),
    }


def with_thumbnails(solution: Cell, executed: Cell) -> Cell:
    """A solution with a folded cell under each of its figures.

    Args:
        solution: The JSON of a solution.
        executed: The JSON of a run of it.

    Returns:
        The JSON of the solution with thumbnails of this run in place of older ones.

    Raises:
        KeyError: The run lacks a cell of the solution.
        ValueError: A figure's cell has changed since it was run; its id is named.
    """
    ran = {cell["id"]: cell for cell in executed["cells"]}
    cells: list[Cell] = []
    for cell in solution["cells"]:
        if text(cell).startswith(FOLDED):
            continue
        cells.append(cell)
        if draws(cell):
            if text(ran[cell["id"]]) != text(cell):
                raise ValueError(f"the cell {cell['id']} has changed since it was run")
            cells.append(reference(ran[cell["id"]]))
    return solution | {"cells": cells}


def main() -> None:
    """Write the thumbnails of the runs that are named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.thumbnails", description=__doc__.splitlines()[0])
    parser.add_argument("executed", type=Path, nargs="+", metavar="EXECUTED")
    for run in parser.parse_args().executed:
        (path,) = [one for one in ROOT.glob("assignments/*/solution.ipynb") if one.parent.name in str(run)]
        solution, executed = (json.loads(one.read_text(encoding="utf-8")) for one in (path, run))
        made = json.dumps(with_thumbnails(solution, executed), indent=1, ensure_ascii=False) + "\n"
        path.write_text(made, encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
