"""Run notebooks in place and store their outputs, free of anything that belongs to one machine.

python -m tools.execute [NOTEBOOK ...]          (default: every notebook of the book)
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from project import needs, repository

KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}
WIDGETS = "application/vnd.jupyter.widget-state+json"
os.environ["TQDM_DISABLE"] = "1"  # what is stored must not hang on how long a cell took
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Client(NotebookClient):
    """Runs every cell except those in `kept`, whose stored outputs stay."""

    kept: frozenset[str] = frozenset()

    async def async_execute_cell(self, cell: Any, *position: Any, **options: Any) -> Any:
        if cell.id in self.kept:
            return cell
        return await super().async_execute_cell(cell, *position, **options)


def widget_state(book: Any) -> dict[str, Any]:
    """What a notebook stores of its widgets: {model id: model}."""
    state: dict[str, Any] = book.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    return state


def widget_models(outputs: list[Any], state: dict[str, Any]) -> set[str]:
    """The models, among a notebook's widget state, that make up the widgets in these outputs."""
    todo = {output.data[WIDGET_VIEW]["model_id"] for output in outputs if WIDGET_VIEW in output.get("data", {})}
    found: set[str] = set()
    while todo:
        found.add(model := todo.pop())
        todo |= set(re.findall(r"IPY_MODEL_(\w+)", str(state[model]))) - found
    # A link between two widgets is a model that no widget mentions.
    links = {model for model in state if "source" in state[model]["state"]}
    return found | {link for link in links if re.search("|".join(found) or "$^", str(state[link]["state"]["source"]))}


def numbered(book: Any) -> Any:
    """The notebook with numbers in place of its widgets' random names, so that running it twice gives the same file."""
    numbers = {model: f"{number:032x}" for number, model in enumerate(widget_state(book))}
    text = re.sub("|".join(numbers) or "$^", lambda found: numbers[found[0]], nbformat.writes(book))
    return nbformat.reads(text, as_version=4)


def is_progress_bar(output: Any) -> bool:
    """Is this the widget of a tqdm bar? Its text form ends like `[00:02<00:10, 3.21it/s]`."""
    data = output.get("data", {})
    return WIDGET_VIEW in data and re.search(r"\[\d+:\d\d[<,]", data.get("text/plain", "")) is not None


def execute(path: Path) -> int:
    """Run one notebook; the number of cells that kept their stored outputs."""
    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    code[0].source = repository.first_cell(cutouts=repository.shows_cutouts(book))
    code[0].metadata["tags"] = ["remove-cell"]

    kept = [cell for cell in code if needs.lacking(cell)]
    for cell in kept:
        if cell.execution_count is None:
            sys.exit(f"{path.name}: a cell has no stored output, and {needs.lacking(cell)}")
    old = widget_state(book)
    client = Client(
        book,
        timeout=600,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": path.parent}},
        coalesce_streams=True,  # one box for what a cell prints
    )
    client.kept = frozenset(cell.id for cell in kept)
    client.execute()

    state = widget_state(book)
    for cell in kept:
        state |= {model: old[model] for model in widget_models(cell.outputs, old)}
    for cell in code:
        # Progress bars, and what the page leaves out, are for the person at the keyboard.
        hidden = "remove-output" in cell.metadata.get("tags", [])
        gone = [output for output in cell.outputs if hidden or is_progress_bar(output)]
        cell.outputs = [output for output in cell.outputs if output not in gone]
    shown = widget_models([output for cell in code for output in cell.outputs], state)
    state = {model: state[model] for model in state if model in shown}
    book.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    if state:
        book.metadata["widgets"] = {WIDGETS: {"version_major": 2, "version_minor": 0, "state": state}}

    for number, cell in enumerate(code, start=1):
        cell.metadata.pop("execution", None)  # time stamps
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    nbformat.write(numbered(book), path)
    return len(kept)


def main(paths: list[Path]) -> None:
    for path in paths:
        start = time.perf_counter()
        kept = execute(path)
        note = f", {kept} cells kept as stored: this machine lacks what they need" if kept else ""
        print(f"{path.name}: {time.perf_counter() - start:.0f} s{note}", flush=True)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or repository.notebooks())
