"""Which pixels mattered: the gradient and its rules."""

import torch
from torch import Tensor, nn

from course_lib.energy import activation
from course_lib.errors import check_pictures, require
from course_lib.taps import Taps, relu_backward


def gradient(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
    rule: str = "gradient",
    *,
    layer: str = "",
    at: tuple[int, int] | None = None,
) -> Tensor:
    """dS/dx, (n, 3, h, w), signed: how the score S of `label` answers a small change of each pixel.

    S is the unnormalised score (the logit), not the probability: the softmax would mix in the other classes.
    label: an int, or (n,) integers, one for each picture. rule: "gradient", "guided" or "deconvnet", what every ReLU
    passes back (see taps.relu_backward). layer, at: explain channel `label` of an inner layer instead, at one place
    (row, column), or its mean over places.

    A `models.Network` takes pictures in [0, 1], and says so; a plain module takes what it takes.
    Raises ValueError for a label or layer that is not there, and for a rule that would change nothing because the
    network runs no ReLU.
    Source: Simonyan 2014; Springenberg 2015 (guided); Zeiler and Fergus 2014 (deconvnet).
    """
    if hasattr(net, "image_size"):
        check_pictures(x)
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        with relu_backward(rule) as ruled:
            answers = Taps(net, layer)(x) if layer else {"": net(x)}
        require(
            ruled is None or ruled.count > 0,
            f"the network runs no ReLU, so rule {rule!r} would change nothing",
        )
        score = activation(layer, label, at)(answers, x)
    (slope,) = torch.autograd.grad(score, x)
    return slope


def saliency(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
    rule: str = "gradient",
    *,
    layer: str = "",
    at: tuple[int, int] | None = None,
) -> Tensor:
    """max over R, G, B of |dS/dx|, (n, 1, h, w), at least 0: the saliency map of Simonyan 2014, section 3.1.

    Arguments and errors as in `gradient`.
    """
    return gradient(net, x, label, rule, layer=layer, at=at).abs().amax(1, keepdim=True)
