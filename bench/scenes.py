"""What a scene costs: composed of photographs, and drawn."""

from collections.abc import Iterator

from bench.measuring import timed
from bench.rows import duration, show
from course_lib import cutouts, world
from project.benches import Row

ROUNDS = 3
MANY = 100


def rows() -> Iterator[Row]:
    """Seconds of one process; the fastest round tells what the machine can do."""
    runs = {
        f"cutouts.compose, {MANY} scenes of 224 px": lambda: cutouts.compose(MANY),
        "the same with two distractors and something in front": lambda: cutouts.compose(
            MANY, distractors=2, occluded=1
        ),
        f"world.draw, {MANY} scenes of 96 px": lambda: world.draw(MANY),
    }
    cutouts.compose(MANY)  # reads the cut-outs and makes the grounds, once
    for what, seconds in zip(runs, timed(ROUNDS, *runs.values()), strict=True):
        yield Row(what, "", f"{duration(min(seconds))}; {60 * MANY / min(seconds):,.0f} a minute")


if __name__ == "__main__":
    show(rows())
