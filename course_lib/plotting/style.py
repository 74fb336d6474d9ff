"""The colours and settings of all figures."""

from typing import Any

from cycler import cycler

__all__ = ["ACCENT", "INK", "QUIET", "STYLE"]

#: The three colours of all figures: of text, of what matters, of what stands back.
INK, ACCENT, QUIET = "#22313f", "#c8553d", "#9aa5b1"


#: matplotlib's settings for all figures.
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.prop_cycle": cycler(color=["#2f6690", ACCENT, "#5b8e7d", "#8e6c8a", "#d9a441", QUIET]),
    "legend.frameon": False,
    "figure.dpi": 160,  # twice the pixels of a page column
}
