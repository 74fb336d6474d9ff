"""What every recipe makes sure of before it descends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from course_lib.inputs import check_alike, check_images, differentiable, dtype_of, plain

Features = TypeVar("Features", bound=Callable[..., object])


@contextmanager
def descending(features: Features) -> Iterator[Features]:
    """Inside, gradients can be taken through features that are a network, evaluated, or any function.

    Args:
        features: A network or a function.

    Yields:
        A network without wrappers, a function as it is.

    Raises:
        TypeError: A network in half precision.
        ValueError: A network that was made under `torch.inference_mode`.
    """
    if not isinstance(features, nn.Module):
        with torch.inference_mode(False), torch.enable_grad():
            yield features
        return
    _check_precision(dtype_of(features), "network computes in")
    with differentiable(features) as net:
        yield net  # type: ignore[misc]  # of the same type, or what a wrapper held


def images_for(features: Callable[..., object], x: Tensor, what: str = "", *, one: bool = False) -> Tensor:
    """Images that a descent can begin at, or aim at.

    Args:
        features: A network, whose device and dtype the images must have, or any function.
        x: (n, 3, h, w) in [0, 1].
        what: What they are, for the error: "style".
        one: Whether there must be one image only.

    Returns:
        The images without a history.

    Raises:
        TypeError: Not a floating tensor, half precision, or another dtype than the network's.
        ValueError: Not images in [0, 1], not one, or on another device than the network.
    """
    check_images(x)
    if one and len(x) != 1:
        raise ValueError(f"one {what} is (1, 3, h, w), got {tuple(x.shape)}")
    if isinstance(features, nn.Module):
        check_alike(features, x)
    _check_precision(x.dtype, "images are")
    return plain(x)


def _check_precision(dtype: torch.dtype, what: str) -> None:
    """Half precision rounds away what a step adds to an image."""
    if dtype.itemsize < 4:
        raise TypeError(f"{what} {dtype}, too coarse for the steps of a descent; take net.float() and x.float()")
