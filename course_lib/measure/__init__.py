"""How true a map is, what a unit or a filter holds, how alike two images, how sure a number."""

from course_lib.measure.faithfulness import area, deletion, insertion, iou, pointing_game
from course_lib.measure.selectivity import colour_energy, explained, orientation_energy
from course_lib.measure.statistics import Interval, Paired, correlation, interval, paired

__all__ = [
    "Interval",
    "Paired",
    "area",
    "colour_energy",
    "correlation",
    "deletion",
    "explained",
    "insertion",
    "interval",
    "iou",
    "orientation_energy",
    "paired",
    "pointing_game",
]
