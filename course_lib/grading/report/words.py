"""A student's words as HTML that can do no harm: Markdown and formulas are drawn, and nothing else is.

Tags arrive as text. Nothing is fetched: an image is its caption, and a link its words with the address in brackets, not
to be clicked. A formula becomes an image of our own making, with its source as alternative text, so that no page needs
a script.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup
from mdit_py_plugins.dollarmath import dollarmath_plugin

FORMULAS = 60  # of one text
NESTED = 20  # lists in quotes in lists


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
    from course_lib.grading.report.formulas import formula, source  # matplotlib loads slowly, and most runs need none

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
