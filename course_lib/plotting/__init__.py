"""Figures."""

from course_lib.plotting.figures import Shown, chart, intervals, pictures
from course_lib.plotting.files import data_uri, encode
from course_lib.plotting.moving import Animation, animation
from course_lib.plotting.panels import Panels, panels
from course_lib.plotting.sheets import filters, mosaic, sheet
from course_lib.plotting.style import ACCENT, INK, QUIET, STYLE
from course_lib.plotting.values import gradient_picture, heat, signed
from course_lib.plotting.zoomable import Tiles, Zoomable

__all__ = [
    "ACCENT",
    "INK",
    "QUIET",
    "STYLE",
    "Animation",
    "Panels",
    "Shown",
    "Tiles",
    "Zoomable",
    "animation",
    "chart",
    "data_uri",
    "encode",
    "filters",
    "gradient_picture",
    "heat",
    "intervals",
    "mosaic",
    "panels",
    "pictures",
    "sheet",
    "signed",
]
