"""A student's words as HTML that can do no harm: Markdown and formulas are drawn, and nothing else is.

Tags arrive as text. Nothing is fetched: an image is its caption, and a link its words with the address in brackets, not
to be clicked. A formula becomes an image of our own making, with its source as alternative text, so that no page needs
a script.
"""

import base64
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import text_to_path
from mdit_py_plugins.dollarmath import dollarmath_plugin

FORMULA = 400  # characters of a formula that is drawn
FORMULAS = 60  # of one text
WIDTH = 2000  # points; nobody reads a wider one
NESTED = 20  # lists in quotes in lists
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


def html(text: str) -> Markup:
    r"""Markdown with formulas between dollar signs as HTML.

    Args:
        text: Anything; see the limits of this module.

    Returns:
        Markup whose tags and attributes are all of this module's making.

    Example:
        >>> html("**why** <script>alert(1)</script>")
        Markup('<p><strong>why</strong> &lt;script&gt;alert(1)&lt;/script&gt;</p>\n')
    """
    state: dict[str, Any] = {"formulas": 0}
    try:
        return Markup(_markdown().render(text, state))
    except Exception:  # a text that the parser does not foresee is still to be read
        return Markup("<pre>{}</pre>").format(text)


@cache
def _markdown() -> MarkdownIt:
    """CommonMark with tables and formulas, without tags and images."""
    made = MarkdownIt("commonmark", {"html": False, "maxNesting": NESTED}).enable("table").disable("reference")
    dollarmath_plugin(made, double_inline=True, allow_labels=False)
    for kind in ("math_inline", "math_inline_double", "math_block"):
        made.add_render_rule(kind, _formula)
    made.add_render_rule("image", _image)
    made.add_render_rule("link_open", _link)
    made.add_render_rule("link_close", _link)
    return made


def _formula(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, state: dict[str, Any]) -> str:
    """A formula as an image; its source where there are too many of them."""
    state["formulas"] += 1
    token = tokens[at]
    drawn = formula(token.content.strip()) if state["formulas"] <= FORMULAS else source(token.content)
    return str(drawn if token.type == "math_inline" else Markup('<div class="formula">{}</div>').format(drawn))


def _image(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, state: dict[str, Any]) -> str:
    """The caption of an image, which stands elsewhere or nowhere."""
    return str(Markup('<em class="muted">[image: {}]</em>').format(tokens[at].content))


def _link(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, state: dict[str, Any]) -> str:
    """Nothing before the words of a link, and its address behind them."""
    opened = state.setdefault("links", [])
    if tokens[at].type == "link_open":
        opened.append(str(tokens[at].attrs.get("href", "")))
        return ""
    return str(Markup(' <span class="muted">({})</span>').format(opened.pop()))


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
    spelled = " ".join(latex.split())[: FORMULA + 1]
    for pattern, replacement in SPELLINGS:
        spelled = pattern.sub(replacement, spelled)
    if not spelled or not spelled.isascii() or len(spelled) > FORMULA:
        return source(latex)
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


__all__ = ["formula", "html", "source"]
