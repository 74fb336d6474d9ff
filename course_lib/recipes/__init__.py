"""Each named technique, a few lines over `minimize`."""

from course_lib.recipes.ascent import AscentOptions, in_focus, maximize_activation, multifaceted
from course_lib.recipes.dream import DreamOptions, caricature, deepdream, dream_zoom
from course_lib.recipes.greedy import from_white_noise, greedy_weights
from course_lib.recipes.inversion import (
    ADAM_IN_STAGES,
    CONTRAST,
    inversion_2015,
    inversion_2016,
    invert,
    match,
    natural,
)
from course_lib.recipes.style import recoloured, synthesize_texture, transfer_style

__all__ = [
    "ADAM_IN_STAGES",
    "CONTRAST",
    "AscentOptions",
    "DreamOptions",
    "caricature",
    "deepdream",
    "dream_zoom",
    "from_white_noise",
    "greedy_weights",
    "in_focus",
    "inversion_2015",
    "inversion_2016",
    "invert",
    "match",
    "maximize_activation",
    "multifaceted",
    "natural",
    "recoloured",
    "synthesize_texture",
    "transfer_style",
]
