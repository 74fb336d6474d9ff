"""Cells tagged `pretrained` are skipped, and counted, where the ImageNet weights are not on the machine."""

import pytest

from project import pretrained

REASON = "the ImageNet weights are not on this machine"


def pytest_collection_modifyitems(items):
    tagged = [item for item in items if hasattr(item, "cell") and pretrained.needs_weights(item.cell)]
    if tagged and not pretrained.weights_file().exists():
        for item in tagged:
            item.add_marker(pytest.mark.skip(reason=REASON))


def pytest_terminal_summary(terminalreporter):
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if REASON in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} notebook cells tagged `{pretrained.TAG}` skipped: {REASON}.", yellow=True
        )
