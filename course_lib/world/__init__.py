"""A drawn world where the truth is known: every image comes with its label, mask and factors."""

from course_lib.world.scenes import BACKGROUNDS, COLOURS, MUTED, PALETTE, SHAPES, TEXTURES, Scenes, draw
from course_lib.world.truth import Truth

__all__ = ["BACKGROUNDS", "COLOURS", "MUTED", "PALETTE", "SHAPES", "TEXTURES", "Scenes", "Truth", "draw"]
