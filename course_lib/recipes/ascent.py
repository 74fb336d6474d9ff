"""What maximises a unit: gradient ascent, from one initial image or from several."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Unpack

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from course_lib.embedding import codes, pca
from course_lib.energy import Activations, Energy, activation
from course_lib.errors import check_options, require
from course_lib.images import Centred, Fourier, Image, Transform, compose, jitter, rotate, scale
from course_lib.inputs import Label, check_range, count, device_of, dtype_of, labels, number, plain, whole
from course_lib.preimage import MinimizeOptions, Preimage, minimize, tapped
from course_lib.recipes.given import descending
from course_lib.taps import Taps, relu_backward

__all__ = ["AscentOptions", "in_focus", "maximize_activation", "multifaceted"]

WAKING = 48  # steps with redirected ReLUs; Olah's code takes 16, which left half of the silent units asleep here
STEPS = 128


class AscentOptions(MinimizeOptions, total=False):
    """What `multifaceted` hands on to `maximize_activation`.

    Attributes:
        at: (row, column) of the one position that counts.
    """

    at: tuple[int, int] | None


def maximize_activation(
    net: nn.Module,
    layer: str,
    channel: Label,
    *,
    at: tuple[int, int] | None = None,
    image: Image | None = None,
    **options: Unpack[MinimizeOptions],
) -> Preimage:
    """The image that maximises a unit: ``argmax_x f(transform(x))``, f the mean of a channel, or one position of it.

    A unit behind a ReLU can be silent on the initial image, with no gradient to climb. Then a few first steps let the
    ReLUs pass back what would wake it (``relu_backward("redirected")``).

    Args:
        net: A `models.Network`, or any other network if `image` is given.
        layer: Name of the layer; "" is the output.
        channel: Number of the channel, or several, one for each image: a class of "fc8", a feature map of "conv4".
            Class names where the layer has a channel for each class.
        at: (row, column) of the one position that counts instead of the mean over positions.
        image: The unknown; by default `images.Fourier` of the network's own size, one image for each channel. It is
            moved to the network's device and dtype.
        options: For `minimize`: regularizer (over any layers), transform (by default jitter by a sixteenth of the
            image, a zoom by up to a tenth and a turn by up to 10 degrees), steps (by default 128), optimizer, seed (of
            the transform and of the default image) and progress.

    Returns:
        The images, one for each channel, and each term's history.

    Raises:
        TypeError: An unknown option, and a channel that is no whole number or class name.
        ValueError: A layer or channel that the network does not have, another number of channels than one or that of
            the images, and a network that names no size of images while `image` is not given.
        Interrupted: Ctrl-C; it holds the images so far.

    Source: Olah 2017. Deviation: his code jitters twice, over a padded canvas, and takes 512 steps.

    Example:
        >>> from course_lib import models
        >>> from course_lib.energy import squared_norm
        >>> net = models.load("coursenet")
        >>> found = maximize_activation(net, "fc8", "star", regularizer=1e-5 * squared_norm("conv3"), steps=4)
        >>> list(found.energy)
        ["activation('fc8', 3)", "squared_norm('conv3')"]
        >>> maximize_activation(net, "fc8", [3, 5], steps=2).image.shape
        torch.Size([2, 3, 96, 96])
    """
    given = check_options("maximize_activation", options, MinimizeOptions, beside=("at", "image"))
    with descending(net) as (net, _, restore):
        units = _numbers(net, channel)
        unknown = _unknown(net, image, 1 if isinstance(units, int) else len(units), given.get("seed", 0))
        start = unknown().detach()
        a = _response(net, layer, channel, units, start)
        given = {"steps": STEPS, **given}
        if given.get("transform") is None:
            given["transform"] = _default_transform(start)
        climb = -1 * activation(layer, units, at)
        if _silent(a, units, at):
            with suppress(ValueError):  # where another activation function has no such rule, nothing is woken
                waking: MinimizeOptions = {**given, "steps": WAKING, "progress": False}
                minimize(_redirected(net, climb, given), climb, unknown, **waking)
        return restore(minimize(net, climb, unknown, **given))


def _default_transform(x: Tensor) -> Transform:
    return compose(jitter(min(x.shape[2:]) // 16), scale(0.9, 1.1), rotate(10))


@torch.no_grad()
def _response(net: nn.Module, layer: str, channel: Label, units: int | Tensor, x: Tensor) -> Tensor:
    """What the layer outputs, (n, c) or (n, c, h, w), which has the channels."""
    a: Tensor = Taps(net, layer)(x)[layer]
    if _named(channel):
        _check_classes(net, layer, a.shape[1])
    check_range(units, a.shape[1], f"channel of layer {layer!r}", len(a))
    return a


def _named(channel: Label) -> bool:
    """Whether channels are given by the names of classes."""
    return not isinstance(channel, Tensor) and np.asarray(channel).dtype.kind in "US"


def _numbers(net: nn.Module, channel: Label) -> int | Tensor:
    """Channels as numbers; names are those of the network's classes."""
    if not _named(channel):
        numbers = whole(channel, "channel")
        return numbers if isinstance(numbers, int) else plain(numbers)
    found = labels(channel, np.size(channel), net, "channel")
    return found if np.ndim(channel) else int(found)


def _check_classes(net: nn.Module, layer: str, count: int) -> None:
    classes = len(getattr(net, "classes", ()))
    require(
        count == classes,
        f"layer {layer!r} has {count} channels, which are not the {classes} classes; give the number of a channel",
    )


def _unknown(net: nn.Module, image: Image | None, n: int, seed: int) -> Image:
    if image is None:
        side = getattr(net, "image_size", None)
        if not isinstance(side, int):
            raise ValueError(
                f"{type(net).__name__} does not say what size of images it takes: wrap it in models.Network, or give "
                "an image="
            )
        image = Fourier(side, side, n, seed=seed)
    return image.to(device_of(net), dtype_of(net))


def _silent(a: Tensor, units: int | Tensor, at: tuple[int, int] | None) -> bool:
    """Whether some unit, or the one at that position, outputs nothing but zeros."""
    maps = a[torch.arange(len(a)), torch.as_tensor(units).expand(len(a))]  # (n,) or (n, h, w)
    if at is not None and maps.dim() == 3:
        maps = maps[:, at[0] : at[0] + 1, at[1] : at[1] + 1]
    return bool((maps.reshape(len(a), -1) == 0).all(1).any())


def _redirected(net: nn.Module, climb: Energy, given: MinimizeOptions) -> Callable[[Tensor], Tensor | Activations]:
    """The layers that are needed, through ReLUs that pass back what would wake a unit."""
    regularizer = given.get("regularizer")
    look = tapped(net, climb if regularizer is None else climb + regularizer)

    def run(x: Tensor) -> Tensor | Activations:
        with relu_backward("redirected"):
            return look(x)

    return run


def in_focus(
    net: nn.Module,
    layer: str,
    channel: Label,
    x: Tensor,
    *,
    transform: Transform | None = None,
    views: int = 8,
    blur: float = 6.0,
    seed: int = 0,
) -> Tensor:
    """Synthesised images, out of focus wherever the unit does not look: what moves it stays as it is.

    ``a x + (1 - a) G x``, G a Gaussian blur, a the absolute gradient of the unit, averaged over transforms of x and
    smoothed: 0 where it is below its median, 1 where it is among the largest 3 %. It is a way to show an image, not to
    find one: pixels that the network hardly uses are grain left by the initial image.

    Args:
        net: As in `maximize_activation`.
        layer: As in `maximize_activation`.
        channel: As in `maximize_activation`; one for all images, or one for each.
        x: The images, (n, 3, h, w) in [0, 1].
        transform: What is drawn anew for each of the views; by default that of `maximize_activation`.
        views: Number of gradients that are averaged, at least 1.
        blur: Standard deviation of G in pixels, above 0; a is smoothed by half as much again.
        seed: Of the transform.

    Returns:
        (n, 3, h, w) in [0, 1].

    Raises:
        TypeError: As `maximize_activation`.
        ValueError: As `maximize_activation`; views < 1, a blur that is not above 0.

    Source: Fel 2023, whose gradients make the rest transparent. Deviation: a blur instead of transparency, and the
    gradients of the finished image instead of those on the way.
    """
    views, blur = count(views, "views"), number(blur, "blur", 0, low_is_in=False)
    with descending(net, x) as (net, (x,), _):
        move = transform or _default_transform(x)
        units = _numbers(net, channel)
        _response(net, layer, channel, units, x)
        goal, generator = activation(layer, units), torch.Generator().manual_seed(seed)
        found = torch.zeros_like(x[:, :1])
        look = Taps(net, layer)
        for _ in range(views):
            seen = x.detach().requires_grad_()
            value = goal(look(move(seen, generator)), seen)
            found += torch.autograd.grad(value, seen)[0].abs().sum(1, keepdim=True)
        with torch.no_grad():
            return torch.lerp(_blurred(x, blur), x, _sharpness(_blurred(found, 1.5 * blur))).clamp(0, 1)


def _sharpness(strength: Tensor) -> Tensor:
    """(n, 1, h, w): from 0 below the median of each image to 1 among its largest 3 %, smoothly."""
    low, high = (strength.flatten(1).quantile(q, dim=1)[:, None, None, None] for q in (0.5, 0.97))
    share = ((strength - low) / (high - low).clamp(min=torch.finfo(strength.dtype).tiny)).clamp(0, 1)
    return share.square() * (3 - 2 * share)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur to three standard deviations, or as far as the image goes."""
    reach = min(math.ceil(3 * sigma), min(x.shape[2:]) - 1)
    blurred: Tensor = gaussian_blur(x, [2 * reach + 1] * 2, [sigma] * 2)
    return blurred


def multifaceted(
    net: nn.Module,
    layer: str,
    channel: int | str,
    images: Tensor,
    *,
    code_layer: str,
    facets: int = 4,
    nearest: int = 15,
    sigma: float = 0.5,
    **options: Unpack[AscentOptions],
) -> Preimage:
    """Several images that maximise a unit, one for each facet of what activates it.

    The images' codes are reduced to 50 numbers (PCA) and parted in k-means clusters. Facet k begins at the mean of the
    images nearest to the centre of cluster k, and ascends with a centre bias (`images.Centred`).

    Args:
        net: As in `maximize_activation`.
        layer: As in `maximize_activation`.
        channel: Number of the channel, or the name of the class.
        images: (m, 3, h, w) that activate the unit: images of its class, or its top patches.
        code_layer: The layer whose codes are clustered.
        facets: Number of clusters, from 1 to m.
        nearest: Number of images that are averaged for each facet, at least 1; a smaller cluster is averaged whole.
        sigma: Width of the centre bias in half sides of the image.
        options: For `maximize_activation`: at, regularizer, transform, steps, optimizer, seed (also of the clusters and
            of the faint noise) and progress. With steps=0 the initial images come back.

    Returns:
        The images (facets, 3, h, w), that of the largest cluster first, and each term's history.

    Raises:
        TypeError: As `maximize_activation`.
        ValueError: As `maximize_activation`, facets or nearest out of range, and several channels.
        Interrupted: Ctrl-C; it holds the images so far.

    Source: Nguyen 2016 (multifaceted). Deviation: he reduces the codes further by t-SNE, and ascends in pixels.
    """
    own = ("code_layer", "facets", "nearest", "sigma")
    given = check_options("multifaceted", options, AscentOptions, beside=own)
    require(np.ndim(channel) == 0, f"multifaceted takes one channel, got {channel!r}")
    with descending(net, images) as (net, (images,), restore):
        require(
            1 <= facets <= len(images), f"facets must be from 1 to the number of images, {len(images)}, got {facets}"
        )
        require(nearest >= 1, f"nearest must be at least 1, got {nearest}")
        seed = given.get("seed", 0)
        rows = _clusters(net, code_layer, images, facets, nearest, seed)
        image = Centred(torch.stack([images[few].mean(0) for few in rows]), sigma, seed=seed)
        each = np.repeat(channel, facets) if isinstance(channel, str) else np.repeat(whole(channel, "channel"), facets)
        return restore(maximize_activation(net, layer, each, image=image, **given))


def _clusters(net: nn.Module, layer: str, images: Tensor, facets: int, nearest: int, seed: int) -> list[Tensor]:
    """The rows of the images nearest to the centre of each cluster of codes, the largest cluster first."""
    from sklearn.cluster import KMeans

    rows = codes(net, layer, images, progress=False)
    table = pca(rows, min(50, *rows.shape)).numpy()
    found = KMeans(facets, n_init=10, random_state=seed).fit(table)
    member, away = torch.from_numpy(found.labels_).long(), torch.from_numpy(found.transform(table))
    order = member.bincount(minlength=facets).argsort(descending=True, stable=True)
    members = [(member == k).nonzero()[:, 0] for k in order]
    return [those[away[those, k].argsort(stable=True)[:nearest]] for those, k in zip(members, order, strict=True)]
