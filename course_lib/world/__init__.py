"""A drawn world where the truth is known: every image comes with its label, mask and factors."""

from course_lib.world.scenes import BACKGROUNDS, COLOURS, PALETTE, SHAPES, TEXTURES, Scenes, draw

__all__ = ["BACKGROUNDS", "COLOURS", "PALETTE", "SHAPES", "TEXTURES", "Scenes", "draw"]
