"""Which question asks for which slides, how many lines a student writes, and in how many minutes.

python -m tools.questions          (writes the table of the instructor's guide)

Lines and minutes are read from the solutions, so the table is true to them; a test fails when it is not current.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from course_lib.grading import question
from course_lib.grading.notebook import MARKS
from course_lib.grading.release import BEGIN, END
from project.repository import ROOT

KEYS = question.keys()
GUIDE = ROOT / "book" / "instructors.md"
FIRST, LAST = "<!-- questions: written by tools/questions.py -->", "<!-- end of questions -->"
PACE = re.compile(r"^\*Difficulty (●+)○* · importance (●+)○* · (\d+) minutes · (core|stretch|bonus)\*$", re.MULTILINE)
GROUPS: dict[str, tuple[str, ...]] = {  # the lecture's groups of slides: the questions
    "Embeddings of words": ("a1.pairs", "a1.skip_gram_step", "a1.neighbours"),
    "Embeddings of images": ("a1.neighbours", "a1.own"),
    "First layer: filters": ("a1.filter_images", "a1.colour_share"),
    "Raw weights of higher layers": ("a1.filter_images",),
    "Last layer: nearest neighbours": ("a1.neighbours", "a1.precision"),
    "Last layer: PCA, t-SNE": ("a1.conditional", "a1.tsne_slope", "a1.map"),
    "Visualising activations": ("a2.top_patches",),
    "Maximally activating patches": ("a2.receptive_field", "a2.top_patches"),
    "Occlusion": ("a2.occlusion", "a2.which_map"),
    "Saliency by backprop": ("a2.saliency", "a2.integrated_gradients", "a2.logit"),
    "Segmentation without supervision": ("a2.overlap", "a2.seeds", "a2.own"),
    "Guided backprop, deconvnet": ("a2.relu_rule", "a2.rule_map"),
    "Gradient ascent, regularisers": ("a3.step", "a3.jittered_slope", "a3.smooth", "a3.ascend", "a3.shape", "a3.own"),
    "Ascent in codes, facets": ("a3.code_ascent", "a1.facets"),
    "Fooling images": ("a3.pgd",),
    "Intriguing properties; easily fooled": ("a3.fgsm", "a3.pgd", "a3.fooled"),
    "Before ConvNets: HOG": ("a4.orientation_bins",),
    "The linear explanation": ("a3.fgsm", "a3.linear"),
    "DeepDream": ("a4.dream_step", "a4.next_octave", "a4.square"),
    "Caricature": ("a4.resemblance", "a4.own"),
    "Feature inversion": ("a4.code_distance", "a4.variation_slope", "a4.invert", "a4.forgotten"),
    "Texture by nearest neighbours": ("a5.window_distances",),
    "Neural texture: Gram matrices": ("a5.gram_matrix", "a5.texture_energy", "a5.gram_slope", "a5.forgets"),
    "Style transfer": (
        "a5.content_energy",
        "a5.total_variation",
        "a5.transfer",
        "a5.keep_colour",
        "a5.weight",
        "a5.own",
    ),
    "Random weights": ("a5.unit_variance", "a5.untrained", "a5.perceptual_distance"),
}


class Pace(NamedTuple):
    """What an exercise says of itself. difficulty, importance: 1 to 5. tier: "core", "stretch" or "bonus"."""

    difficulty: int
    importance: int
    minutes: int
    tier: str


def cells(key: str) -> list[dict[str, Any]]:
    """The cells of a solution."""
    (path,) = ROOT.glob(f"assignments/{key}_*/solution.ipynb")
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def sections(key: str) -> dict[str, Pace]:
    """Of each question what its section's line says.

    Raises:
        ValueError: A question stands below no such line.
    """
    now: Pace | None = None
    found: dict[str, Pace] = {}
    for cell in cells(key):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and text.startswith("## "):
            now = None
        if cell["cell_type"] == "markdown" and (line := PACE.search(text)):
            now = Pace(len(line[1]), len(line[2]), int(line[3]), line[4])
        mark = MARKS[cell["cell_type"]].match(text) if cell["cell_type"] in MARKS else None
        if mark:
            if now is None:
                raise ValueError(f"{mark[1]} does not say how difficult it is")
            found[mark[1]] = now
    return found


def lines(key: str) -> dict[str, int]:
    """Of each question that is answered by code, the lines of the solution that a student writes."""
    found: dict[str, int] = {}
    for cell in cells(key):
        text = "".join(cell["source"])
        mark = MARKS["code"].match(text) if cell["cell_type"] == "code" else None
        inside = False
        for line in text.splitlines() if mark else ():
            if END.match(line):
                inside = False
            if mark and inside and line.strip() and not line.strip().startswith("#"):
                found[mark[1]] = found.get(mark[1], 0) + 1
            if BEGIN.match(line):
                inside = True
    return found


def table() -> str:
    """The table in Markdown, and a line of sums."""
    said: dict[str, str] = {}
    total = minutes = 0
    for key in KEYS:
        written, paces = lines(key), sections(key)
        total += sum(written.values())
        minutes += sum(_minutes(key))
        for name, pace in paces.items():
            what = f"{written[name]} lines" if name in written else "words"
            said[name] = f"`{name}` {what}, {pace.minutes} min, {pace.tier}"
    rows = [f"| {group} | {'; '.join(said[name] for name in names)} |" for group, names in GROUPS.items()]
    hours = round(minutes / 60)
    ends = (
        f"A student writes {total} lines of code in five assignments, in about {hours} hours. Questions of one section "
        "share its minutes."
    )
    return "\n".join(
        ["| slides | questions: what a student writes, and how long the section takes |", "|---|---|", *rows, "", ends]
    )


def _minutes(key: str) -> list[int]:
    """The minutes of each section of an assignment, once."""
    return [
        int(line[3])
        for cell in cells(key)
        if cell["cell_type"] == "markdown"
        for line in [PACE.search("".join(cell["source"]))]
        if line
    ]


def written(guide: str) -> str:
    """The instructor's guide with the table of today.

    Args:
        guide: The text of the page, with the two marks that the table stands between.
    """
    before, rest = guide.split(FIRST)
    return f"{before}{FIRST}\n\n{table()}\n\n{LAST}{rest.split(LAST)[1]}"


def main(path: Path = GUIDE) -> None:
    """Write the table into the guide."""
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
