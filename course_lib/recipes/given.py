"""What every recipe makes sure of before it descends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from course_lib.errors import require
from course_lib.inputs import check_alike, check_images, differentiable, dtype_of, plain, unwrapped
from course_lib.preimage import Interrupted, Preimage

Features = TypeVar("Features", bound=Callable[..., object])
Restore = Callable[[Preimage], Preimage]


@contextmanager
def descending(features: Features, *images: Tensor) -> Iterator[tuple[Features, list[Tensor], Restore]]:
    """Inside, gradients can be taken through features that are a network, evaluated, or any function.

    The steps of a descent are too fine for half precision: a float copy of such a network runs instead, and what it
    finds is rounded at the end.

    Args:
        features: A network, whose device and dtype the images must have, or any function.
        images: Batches (n, 3, h, w) in [0, 1].

    Yields:
        A network without wrappers, or a function as it is; the images without a history; and what gives a result the
        dtype that the images or the network came in.

    Raises:
        TypeError: Not floating tensors, or of another dtype than the network's.
        ValueError: Not images in [0, 1], or on another device than the network; a network that was made under
            `torch.inference_mode`.
    """
    network = unwrapped(features) if isinstance(features, nn.Module) else None
    for x in images:
        check_images(x)
        if network is not None:
            check_alike(network, x)
    dtype = images[0].dtype if images else torch.float32 if network is None else dtype_of(network)
    coarse = dtype.itemsize < 4
    if network is not None and coarse and dtype_of(network) == dtype:
        network = deepcopy(network).float()

    def restore(found: Preimage) -> Preimage:
        return Preimage(found.image.to(dtype), found.energy)

    evaluated = nullcontext() if network is None else differentiable(network)
    with evaluated, torch.inference_mode(False), torch.enable_grad():
        try:
            started = [plain(x).float() if coarse else plain(x) for x in images]
            yield (features if network is None else network), started, restore  # type: ignore[misc]
        except Interrupted as stop:
            raise Interrupted(restore(stop.found)) from None


def check_one(x: Tensor, what: str) -> None:
    """Raise unless a batch holds one image.

    Args:
        x: The batch.
        what: What it is, for the error: "style".

    Raises:
        ValueError: Another number of images.
    """
    require(len(x) == 1, f"one {what} is (1, 3, h, w), got {tuple(x.shape)}")
