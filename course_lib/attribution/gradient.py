"""How a score answers a small change of each pixel."""

import torch
from torch import Tensor, nn

from course_lib.energy import activation
from course_lib.errors import check_choice, check_pictures, require
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
    check_input(net, x)
    return _slope(net, x, label, rule, layer, at)


# A models.Network takes pictures in [0, 1], and says so; a plain module takes what it takes.
def check_input(net: nn.Module, x: Tensor) -> None:
    if hasattr(net, "image_size"):
        check_pictures(x)


# One label for each of n pictures.
def labels_of(label: int | Tensor, n: int) -> list[int]:
    check_choice(label, n, torch.iinfo(torch.long).max, "class of the output")
    return [int(each) for each in torch.as_tensor(label).expand(n)]


def _slope(
    net: nn.Module, x: Tensor, label: int | Tensor, rule: str, layer: str = "", at: tuple[int, int] | None = None
) -> Tensor:
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


def smooth_grad(
    net: nn.Module,
    x: Tensor,
    label: int | Tensor,
    rule: str = "gradient",
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """max over R, G, B of |mean of dS/dx over noisy copies of x|, (n, 1, h, w), at least 0.

    The noise is Gaussian; its deviation is `noise` times the range max - min of each picture, and the copies may leave
    [0, 1]. The mean is signed, as in the paper's formula, and the absolute value comes last. All pictures of a batch
    get the same noise, so that each is explained as it would be alone.

    Raises as `gradient`, and ValueError for samples < 1 or noise < 0. Source: Smilkov 2017.
    """
    require(samples >= 1, f"smooth_grad needs at least 1 sample, got {samples}")
    require(noise >= 0, f"noise is a share of the picture's range, at least 0, got {noise}")
    check_input(net, x)
    generator = torch.Generator().manual_seed(seed)
    span = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    total = torch.zeros_like(x)
    for _ in range(samples):
        total += _slope(net, x + span * torch.randn(x.shape[1:], generator=generator).to(x), label, rule)
    return (total / samples).abs().amax(1, keepdim=True)
