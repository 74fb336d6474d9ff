"""Each named technique, a few lines over `minimize`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from course_lib.energy import activation, distance
from course_lib.errors import check_choice, require
from course_lib.images import Fourier, Image, Pixels, Transform, compose, jitter, rotate, scale
from course_lib.models import Network
from course_lib.preimage import Preimage, minimize, minimize_in_stages
from course_lib.taps import Taps, relu_backward

WAKING = 48  # steps with redirected ReLUs; Olah's code takes 16, which left half of the silent units asleep here


def maximize_activation(
    net: Network,
    layer: str,
    channel: int | Tensor,
    *,
    at: tuple[int, int] | None = None,
    image: Image | None = None,
    transform: Transform | None = None,
    steps: int = 128,
    **options: Any,
) -> Preimage:
    """The picture that a unit likes best: argmax_x f(transform(x)), f the mean of a channel, or one place of it.

    layer, channel: "fc8", 3 is a class, "conv4", 17 a feature map (its mean over places, or the place `at`);
        (n,) channels give n pictures, one for each.
    image: the unknown; by default Fourier coordinates at the network's own size. transform: by default jitter by a
    sixteenth of the picture, a zoom by up to a tenth, a turn by up to 10 degrees. options: for `minimize` (regularizer,
    optimizer, seed, progress).

    A unit behind a ReLU can be silent on the start, with no slope to climb. Then a few first steps let the ReLUs pass
    back what would wake it (`relu_backward("redirected")`).

    Raises ValueError for a layer or channel that the network does not have.
    Source: Olah 2017, whose code jitters twice, over a padded canvas, and takes 512 steps.
    """
    side = net.image_size
    device = next(net.parameters()).device
    n = torch.as_tensor(channel).numel()
    unknown = Fourier(side, side, n, seed=options.get("seed", 0)) if image is None else image
    if transform is None:
        transform = compose(jitter(side // 16), scale(0.9, 1.1), rotate(10))
    climb = partial(minimize, loss=-1 * activation(layer, channel, at), image=unknown.to(device), transform=transform)
    features = Taps(net, layer)
    if _silent(features, unknown, layer, channel, at):
        climb(_redirected(features), steps=WAKING, **options | {"progress": False})
    return climb(features, steps=steps, **options)


@torch.no_grad()
def _silent(features: Taps, image: Image, layer: str, channel: int | Tensor, at: tuple[int, int] | None) -> bool:
    """Whether some unit, or the one at that place, answers nothing but zeros to the start."""
    a = features(image())[layer]  # (n, c) or (n, c, h, w)
    check_choice(channel, len(a), a.shape[1], f"channel of layer {layer!r}")
    chosen = torch.as_tensor(channel).expand(len(a))
    maps = a[torch.arange(len(a)), chosen]  # (n,) or (n, h, w)
    if at is not None and maps.dim() == 3:
        maps = maps[:, at[0] : at[0] + 1, at[1] : at[1] + 1]
    return bool((maps.reshape(len(a), -1) == 0).all(1).any())


def _redirected(features: Taps) -> Callable[[Tensor], dict[str, Tensor]]:
    def run(x: Tensor) -> dict[str, Tensor]:
        with relu_backward("redirected"):
            return features(x)

    return run


def match(
    features: Callable[[Tensor], Tensor | dict[str, Tensor]],
    start: Tensor,
    goal: Tensor,
    *,
    radius: float | None = None,
    rates: Sequence[float] = (0.01, 0.005, 0.003, 0.002, 0.001, 0.0005, 0.0002),
    steps: int = 400,
    **options: Any,
) -> Preimage:
    """A picture with the code of `goal`, near `start`: argmin_x |f(x) - f(goal)|^2 / |f(goal)|^2, by descent from it.

    start, goal: (n, 3, h, w) in [0, 1]. What keeps the picture like the start is that the descent begins there, the
    `radius` in every pixel if one is given, and a regularizer among the options, which are for `minimize`.
    rates: Adam's step sizes in turn, `steps` steps with each. Each begins with a fresh memory: that shakes the picture
    out of the kinks where orientations change their bin, and small rates let it settle.

    HOG's clamp hides by how much a bin overshot, so there is no slope back; match `HOG(bilinear=True, clamp=inf)`
    first, then the clamped code from there.
    Raises ValueError for no rates. Source: Tatu 2011, who takes plain gradient steps.
    """
    require(len(rates) > 0, "rates must name at least one step size")
    with torch.no_grad():
        loss = distance(features(goal))
    stages = [(partial(torch.optim.Adam, lr=rate), steps) for rate in rates]
    return minimize_in_stages(features, loss, Pixels(start, radius), stages, **options)
