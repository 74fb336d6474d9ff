"""A formula as an image of our own making: no script, nothing fetched, its source as alternative text."""

import base64
import re
from functools import lru_cache

import numpy as np
from markupsafe import Markup
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import text_to_path

FORMULA = 400  # characters of a formula that is drawn
WIDTH = 2000  # points; nobody reads a wider one
SIZE = 12  # points of a formula's letters, beside text of 16 pixels
# what matplotlib calls otherwise, does without, or wants in braces
SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:displaystyle|limits|nonumber|notag|[bB]igg?[lrm]?)(?![A-Za-z])", ""),
        (r"\\(le|ge)(?![A-Za-z])", r"\\\1q"),
        (r"\\implies(?![A-Za-z])", r"\\Rightarrow"),
        (r"\\iff(?![A-Za-z])", r"\\Leftrightarrow"),
        (r"\\land(?![A-Za-z])", r"\\wedge"),
        (r"\\[lr]vert(?![A-Za-z])", "|"),
        (r"\\[lr]Vert(?![A-Za-z])", r"\\|"),
        (r"\\operatorname\*", r"\\operatorname"),
        (r"\\tfrac(?![A-Za-z])", r"\\frac"),
        (r"\\(d?frac) ?([0-9]|(?<= )[A-Za-z]) ?([0-9A-Za-z])", r"\\\1{\2}{\3}"),
        (r"\\(sqrt|math(?:bf|rm|sf|cal|bb)) ?([0-9]|(?<= )[A-Za-z])", r"\\\1{\2}"),
    )
]


def source(latex: str) -> Markup:
    """A formula as it was typed.

    Args:
        latex: What stands between the dollar signs.

    Returns:
        Code.
    """
    return Markup("<code>{}</code>").format(latex)


@lru_cache(maxsize=4096)
def formula(latex: str) -> Markup:
    r"""A formula as an image, in the part of LaTeX that matplotlib knows.

    Args:
        latex: What stands between the dollar signs.

    Returns:
        An image with its source as alternative text; the source itself where it cannot be drawn.

    Example:
        >>> print(formula(r"\begin{array}"))
        <code>\begin{array}</code>
    """
    if len(latex) > FORMULA or not latex.isascii() or not latex.strip():
        return source(latex)
    spelled = " ".join(latex.split())
    for pattern, replacement in SPELLINGS:
        spelled = pattern.sub(replacement, spelled)
    try:
        letters, text = FontProperties(size=SIZE), f"${spelled}$"
        width, height, below = map(float, text_to_path.get_text_width_height_descent(text, letters, True))
        points, codes = text_to_path.get_text_path(letters, text, ismath=True)
    except (ValueError, RecursionError, RuntimeError, KeyError, TypeError, IndexError):
        return source(latex)  # it is no formula, or one of another dialect
    if not 0 < width < WIDTH or not 0 < height < WIDTH:
        return source(latex)
    drawn = _svg(Outline(np.asarray(points), np.asarray(codes)), width, height, below)
    data = base64.b64encode(drawn.encode()).decode()
    style = f"height: {(height + 2) / SIZE * 0.95:.2f}em; vertical-align: {-(below + 1) / SIZE * 0.95:.2f}em"
    return Markup('<img class="inline" alt="{}" style="{}" src="data:image/svg+xml;base64,{}">').format(
        latex, style, data
    )


def _svg(outline: Outline, width: float, height: float, below: float) -> str:
    """An outline as a drawing, with a margin of a point."""
    letters = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}
    # the outline is in units of matplotlib's own size of letters
    scale, drawn = SIZE / text_to_path.FONT_SCALE, []
    for points, code in outline.iter_segments(simplify=False):
        drawn.append("Z" if code == Outline.CLOSEPOLY else letters[code] + " ".join(f"{p:.0f}" for p in points))
    frame = f"-1 {-(height - below) - 1:.2f} {width + 2:.2f} {height + 2:.2f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{frame}">'
        f'<path transform="scale({scale:.4f} {-scale:.4f})" d="{"".join(drawn)}"/></svg>'
    )
