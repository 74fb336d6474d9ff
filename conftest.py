"""Notebook cells, and examples of the cut-outs, are skipped and counted where this machine lacks what they need."""

import pytest

from project import needs

EXAMPLES = "course_lib/cutouts/"  # in their docstrings


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "cell") and (reason := needs.lacking(item.cell)):
            item.add_marker(pytest.mark.skip(reason=reason))
        elif item.nodeid.startswith(EXAMPLES) and not needs.CUTOUTS.present():
            item.add_marker(pytest.mark.skip(reason=needs.CUTOUTS.lacking))


def pytest_terminal_summary(terminalreporter):
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for need in needs.NEEDS:
        if count := sum(need.lacking in reason for reason in skipped):
            terminalreporter.write_line(f"{count} skipped that need `{need.tag}`: {need.lacking}.", yellow=True)
