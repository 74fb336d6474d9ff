"""One progress bar for everything that lasts."""

import os
from collections.abc import Iterable
from typing import TypeVar

from tqdm.auto import tqdm

__all__ = ["DELAY", "bar"]

DELAY = 3.0  # seconds before a bar appears: what is over by then needs none

T = TypeVar("T")


def bar(
    steps: Iterable[T] | None = None,
    *,
    shown: bool = True,
    total: int | None = None,
    initial: int = 0,
    desc: str | None = None,
    unit: str = "it",
) -> "tqdm[T]":
    """A bar that appears once a run has lasted for DELAY seconds, and goes when it ends.

    TQDM_DISABLE=1 in the environment hides all bars.

    Args:
        steps: What to walk through; None for a bar that is moved by hand.
        shown: False for no bar.
        total: Number of steps, where `steps` does not tell.
        initial: Number of steps that are done already.
        desc: What stands before the bar.
        unit: What a step is called.
    """
    hidden = not shown or bool(os.environ.get("TQDM_DISABLE"))  # which tqdm itself heeds in a terminal only
    return tqdm(steps, delay=DELAY, leave=False, total=total, initial=initial, desc=desc, unit=unit, disable=hidden)
