"""What some notebook cells need that a machine may lack. The cells carry its tag, and are skipped and counted there."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from project.repository import STAMPS


class Need(NamedTuple):
    """Something that cells may need.

    Attributes:
        tag: Of the cells that need it.
        lacking: What to say where it is not there.
        present: Whether it is.
    """

    tag: str
    lacking: str
    present: Callable[[], bool]


@cache
def _weights() -> bool:
    from course_lib import models  # here, so that a test run without tagged cells does not pay for torch

    return models.cached_file("squeezenet1_0").exists()


@cache
def _cutouts() -> bool:
    from course_lib import cutouts

    return cutouts.available()


PRETRAINED = Need("pretrained", "the ImageNet weights are not on this machine", _weights)
CUTOUTS = Need("cutouts", f"the photographed cut-outs ({STAMPS}) are not on this machine", _cutouts)
NEEDS = (PRETRAINED, CUTOUTS)


def needed(cell: Any) -> list[Need]:
    """What a notebook cell needs, by its tags."""
    tags = cell["metadata"].get("tags", [])
    return [need for need in NEEDS if need.tag in tags]


def lacking(cell: Any) -> str:
    """Why a notebook cell cannot run here; "" where it can."""
    return "; ".join(need.lacking for need in needed(cell) if not need.present())
