"""One progress bar for everything that lasts."""

from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm.auto import tqdm

DELAY = 3.0  # seconds before a bar appears: what is over by then needs none

T = TypeVar("T")


def bar(steps: Iterable[T] | None = None, *, shown: bool = True, **options: Any) -> "tqdm[T]":
    """A bar that appears once a run has lasted for DELAY seconds, and goes when it ends.

    Setting TQDM_DISABLE=1 in the environment hides all bars.

    Args:
        steps: What to walk through; None for a bar that is moved by hand.
        shown: False for no bar.
        options: For `tqdm`: total, initial, desc, unit.
    """
    hidden: dict[str, Any] = {} if shown else {"disable": True}  # not given, it is the environment's to say
    return tqdm(steps, delay=DELAY, leave=False, **options, **hidden)
