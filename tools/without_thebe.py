"""Pages without thebe, which Jupyter Book always loads: no page uses it, and its first script, there twice, fails."""

from typing import Any

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", _drop)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _drop(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    scripts = context["script_files"]
    context["script_files"] = [script for script in scripts if "thebe" not in f"{script} {script.attributes}".lower()]
