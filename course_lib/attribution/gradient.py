"""How a score responds to a small change of each pixel."""

import torch
from torch import Tensor, nn

from course_lib.energy import activation
from course_lib.errors import require
from course_lib.inputs import Label, ready, tensor
from course_lib.taps import Taps, relu_backward


def gradient(
    net: nn.Module,
    x: Tensor,
    label: Label,
    rule: str = "gradient",
    *,
    layer: str = "",
    at: tuple[int, int] | None = None,
) -> Tensor:
    """``dS/dx``: how the score S of a class, or the activation of an inner unit, responds to a small change of x.

    S is the unnormalised score (the logit), not the probability: the softmax would mix in the other classes.

    Args:
        net: A classifier; it is evaluated, whatever mode it is in.
        x: (n, 3, h, w), in [0, 1] for a `models.Network`; a plain module takes what it takes.
        label: The class, or with `layer` the channel: one for all images or one for each; class names where the network
            has them.
        rule: What every ReLU passes back: "gradient", "guided" or "deconvnet" (see `taps.relu_backward`).
        layer: An inner layer whose channel `label` is explained instead of a class; "" is the output.
        at: (row, column) of one unit of that layer, instead of the mean over its positions.

    Returns:
        (n, 3, h, w), signed.

    Raises:
        TypeError: Labels that are no whole numbers or names.
        ValueError: A label or layer that is not there, another number of labels than one or n, images that the network
            cannot take, and a rule that would change nothing (the network runs no ReLU) or is not defined for another
            activation function on the image's path.

    Source: Simonyan 2014; Springenberg 2015 (guided); Zeiler and Fergus 2014 (deconvnet). Deviation: none.

    Example:
        >>> from course_lib import models, world
        >>> gradient(models.load("coursenet"), world.draw(2).images, "star").shape
        torch.Size([2, 3, 96, 96])
    """
    with ready(net, x, label) as (net, x, chosen):
        return gradient_at(net, x, chosen, rule, layer, at)


def gradient_at(
    net: nn.Module, x: Tensor, label: Tensor, rule: str, layer: str = "", at: tuple[int, int] | None = None
) -> Tensor:
    """`gradient` behind the front door.

    Args:
        net: A network in evaluation mode.
        x: Images without a history.
        label: (n,) int64.
        rule: As in `gradient`.
        layer: As in `gradient`.
        at: As in `gradient`.
    """
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        with relu_backward(rule) as ruled:
            activations = Taps(net, layer)(x) if layer else {"": tensor(net(x))}
        require(
            ruled is None or ruled.count > 0,
            f"the network runs no ReLU, so rule {rule!r} would change nothing",
        )
        score = activation(layer, label, at)(activations, x)
    (found,) = torch.autograd.grad(score, x)
    return found


def saliency(
    net: nn.Module,
    x: Tensor,
    label: Label,
    rule: str = "gradient",
    *,
    layer: str = "",
    at: tuple[int, int] | None = None,
) -> Tensor:
    """``max over R, G, B of |dS/dx|``, the saliency map.

    Args:
        net: As in `gradient`.
        x: As in `gradient`.
        label: As in `gradient`.
        rule: As in `gradient`.
        layer: As in `gradient`.
        at: As in `gradient`.

    Returns:
        (n, 1, h, w), at least 0.

    Raises:
        TypeError: As `gradient`.
        ValueError: As `gradient`.

    Source: Simonyan 2014, section 3.1. Deviation: none.

    Example:
        >>> from course_lib import models, world
        >>> saliency(models.load("coursenet"), world.draw(1).images, "star").shape
        torch.Size([1, 1, 96, 96])
    """
    return gradient(net, x, label, rule, layer=layer, at=at).abs().amax(1, keepdim=True)


def smooth_grad(
    net: nn.Module,
    x: Tensor,
    label: Label,
    rule: str = "gradient",
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """``max over R, G, B of |mean of dS/dx over noisy copies of x|``.

    The mean is signed, as in the paper's formula, and the absolute value comes last. The copies may leave [0, 1].

    Args:
        net: As in `gradient`.
        x: As in `gradient`.
        label: As in `gradient`.
        rule: As in `gradient`.
        samples: Number of copies, at least 1.
        noise: Standard deviation of the Gaussian noise, as a share of the range max - min of each image.
        seed: Of the noise. All images of a batch get the same, so that each is explained as it would be alone.

    Returns:
        (n, 1, h, w), at least 0.

    Raises:
        TypeError: As `gradient`.
        ValueError: As `gradient`, and samples < 1 or noise < 0.

    Source: Smilkov 2017. Deviation: none.
    """
    require(samples >= 1, f"smooth_grad needs at least 1 sample, got {samples}")
    require(noise >= 0, f"noise is a share of the image's range, at least 0, got {noise}")
    generator = torch.Generator().manual_seed(seed)
    with ready(net, x, label) as (net, x, chosen):
        span = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
        total = torch.zeros_like(x)
        for _ in range(samples):
            noisy = x + span * torch.randn(x.shape[1:], generator=generator).to(x)
            total += gradient_at(net, noisy, chosen, rule)
    return (total / samples).abs().amax(1, keepdim=True)
