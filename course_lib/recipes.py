"""Each named technique, a few lines over `minimize`."""

from functools import partial
from typing import Any

import torch

from course_lib.energy import activation
from course_lib.images import Fourier, Image, Transform, jitter
from course_lib.models import Network
from course_lib.preimage import Preimage, minimize
from course_lib.taps import Taps


def maximize_activation(
    net: Network,
    layer: str,
    channel: int,
    *,
    at: tuple[int, int] | None = None,
    image: Image | None = None,
    transform: Transform | None = None,
    steps: int = 256,
    **options: Any,
) -> Preimage:
    """The picture that a unit likes best: argmax_x f(transform(x)), f the mean of a channel, or one place of it.

    layer, channel: "fc8", 3 is a class, "conv4", 17 a feature map (its mean over places, or the place `at`).
    image: the unknown; by default Fourier coordinates at the network's own size. transform: jitter of a sixteenth of
    the picture by default. options: for `minimize` (regularizer, optimizer, seed, progress).

    Raises ValueError for a layer or channel that the network does not have.
    Source: Olah 2017, with less noise and no zoom or turn: at these sizes jitter alone gave pictures as clear.
    """
    side = net.image_size
    device = next(net.parameters()).device
    unknown = Fourier(side, side, seed=options.get("seed", 0)) if image is None else image
    if transform is None:
        transform = jitter(side // 16)
    options.setdefault("optimizer", partial(torch.optim.Adam, lr=0.05))
    goal = -1 * activation(layer, channel, at)
    return minimize(Taps(net, layer), goal, unknown.to(device), transform=transform, steps=steps, **options)
