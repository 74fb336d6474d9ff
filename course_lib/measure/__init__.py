"""How true a map is, what a unit or a filter holds, how alike two images, how sure a number."""

from course_lib.measure.codes import Features, flat, spread
from course_lib.measure.faithfulness import area, deletion, insertion, iou, pointing_game
from course_lib.measure.selectivity import auc, auc_interval, colour_energy, explained, orientation_energy
from course_lib.measure.similarity import (
    content_lost,
    correlation,
    patch_distance,
    psnr,
    shuffled_pixels,
    spectrum_distance,
)
from course_lib.measure.statistics import Interval, Paired, interval, paired
from course_lib.measure.textures import told_apart

__all__ = [
    "Features",
    "Interval",
    "Paired",
    "area",
    "auc",
    "auc_interval",
    "colour_energy",
    "content_lost",
    "correlation",
    "deletion",
    "explained",
    "flat",
    "insertion",
    "interval",
    "iou",
    "orientation_energy",
    "paired",
    "patch_distance",
    "pointing_game",
    "psnr",
    "shuffled_pixels",
    "spectrum_distance",
    "spread",
    "told_apart",
]
