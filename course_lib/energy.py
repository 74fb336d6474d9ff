"""Weighted, named scalar terms.

An energy is minimised; to maximise, write `-1 * activation("fc8", 3)`. Energies add, subtract, scale and sum() as the
equation does. Each term is a scalar: the sum over the pictures of a batch, so that every picture of a batch descends
as it would alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import check_choice, require, unknown

Activations = Mapping[str, Tensor]
Function = Callable[[Activations, Tensor], Tensor]  # (activations, image) -> scalar


class Term(NamedTuple):
    """weight * function(activations, image), with a name to show."""

    name: str
    weight: float
    function: Function


class Energy:
    """A sum of weighted terms. `Energy.of(name, function)` makes one of your own."""

    def __init__(self, *terms: Term):
        self.terms = terms

    @classmethod
    def of(cls, name: str, function: Function) -> "Energy":
        return cls(Term(name, 1.0, function))

    def parts(self, activations: Activations, image: Tensor) -> dict[str, Tensor]:
        """The weighted value of each term, by name; a name that occurs again is numbered."""
        parts: dict[str, Tensor] = {}
        for name, weight, function in self.terms:
            key, copies = name, 1
            while key in parts:
                copies += 1
                key = f"{name} #{copies}"
            parts[key] = weight * function(activations, image)
        return parts

    def __call__(self, activations: Activations, image: Tensor) -> Tensor:
        return torch.stack(list(self.parts(activations, image).values())).sum()

    def __add__(self, other: "Energy | int") -> "Energy":
        if isinstance(other, Energy):
            return Energy(*self.terms, *other.terms)
        if other == 0:  # what sum() starts from
            return self
        return NotImplemented

    __radd__ = __add__

    def __mul__(self, factor: float) -> "Energy":
        if isinstance(factor, Energy):
            return NotImplemented
        return Energy(*(term._replace(weight=float(factor) * term.weight) for term in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Energy":
        return self * (1 / divisor)

    def __neg__(self) -> "Energy":
        return self * -1

    def __sub__(self, other: "Energy") -> "Energy":
        return self + -other

    def __repr__(self) -> str:
        return " + ".join(name if weight == 1 else f"{weight:g} * {name}" for name, weight, _ in self.terms)


def _tapped(activations: Activations, layer: str) -> Tensor:
    if layer not in activations:
        raise unknown("activation of layer", layer, activations)
    return activations[layer]


def _called(layer: str) -> str:
    return f"layer {layer!r}" if layer else "the output"


# ---------------------------------------------------------------- of activations


def activation(layer: str, channel: int | Tensor, at: tuple[int, int] | None = None) -> Energy:
    """Mean over places of one channel; `at=(row, column)` picks one place; fully connected layers have no places.

    channel: an int, or (n,) integers, one for each picture. Units: the layer's own.
    Raises ValueError when evaluated on activations without that layer, channel or place.
    """

    what = f"{'channel' if layer else 'class'} of {_called(layer)}"

    def function(activations: Activations, image: Tensor) -> Tensor:
        a = _tapped(activations, layer)  # (n, c) or (n, c, h, w)
        check_choice(channel, len(a), a.shape[1], what)
        each = isinstance(channel, Tensor) and channel.dim() == 1
        maps = a[torch.arange(len(a)), channel] if each else a[:, channel]  # (n,) or (n, h, w)
        if at is None:
            return maps.sum() / (maps.numel() // len(maps))
        require(maps.dim() == 3, f"{_called(layer)} has no places, so at={at} means nothing")
        inside = all(0 <= i < side for i, side in zip(at, maps.shape[1:], strict=True))
        require(inside, f"no place {at} in {_called(layer)}, which is {maps.shape[1]} x {maps.shape[2]}")
        return maps[:, at[0], at[1]].sum()

    shown = channel if isinstance(channel, int) else "..."
    return Energy.of(f"activation({layer!r}, {shown}{'' if at is None else f', at={at}'})", function)


def cross_entropy(layer: str, labels: int | Tensor) -> Energy:
    """-log softmax(a)[label], in nats; labels an int or (n,) integers. Raises ValueError for a label out of range."""

    def function(activations: Activations, image: Tensor) -> Tensor:
        logits = _tapped(activations, layer)  # (n, classes)
        check_choice(labels, len(logits), logits.shape[1], f"class of {_called(layer)}")
        wanted = torch.as_tensor(labels, device=logits.device).expand(len(logits))
        return F.cross_entropy(logits, wanted.long(), reduction="sum")

    return Energy.of(f"cross_entropy({layer!r})", function)


def squared_norm(*layers: str) -> Energy:
    """sum a^2 over every layer named: what DeepDream maximises."""

    def function(activations: Activations, image: Tensor) -> Tensor:
        return torch.stack([_tapped(activations, layer).square().sum() for layer in layers]).sum()

    return Energy.of(f"squared_norm({', '.join(map(repr, layers))})", function)


def _targets(target: Activations | Tensor) -> dict[str, Tensor]:
    """A code to aim at, as constants by layer; a bare tensor is the output, layer ''."""
    named = {"": target} if isinstance(target, Tensor) else target
    return {layer: value.detach() for layer, value in named.items()}


def _matching(activations: Activations, layer: str, target: Tensor) -> Tensor:
    a = _tapped(activations, layer)
    same = a.shape[1:] == target.shape[1:] and len(target) in (1, len(a))
    require(same, f"{_called(layer)} answers {tuple(a.shape)}, but its target is {tuple(target.shape)}")
    return a


def distance(target: Activations | Tensor) -> Energy:
    """|a - a0|^2 / |a0|^2, summed over layers and pictures; 0 is a perfect match, 1 the distance of a code of zeros.

    target: activations from Taps, or the tensor that `features` returns; (1, ...) aims every picture at one code.
    Source: Mahendran and Vedaldi 2015, eq. 3. Raises ValueError for other shapes than the target's.
    """
    targets = _targets(target)

    def function(activations: Activations, image: Tensor) -> Tensor:
        errors = []
        for layer, a0 in targets.items():
            a = _matching(activations, layer, a0)
            errors.append(((a - a0).flatten(1).square().sum(1) / a0.flatten(1).square().sum(1)).sum())
        return torch.stack(errors).sum()

    return Energy.of("distance", function)


def inner_product(target: Activations | Tensor) -> Energy:
    """<a, a0>, summed over layers and pictures; maximised in a caricature (Mahendran and Vedaldi 2016)."""
    targets = _targets(target)

    def function(activations: Activations, image: Tensor) -> Tensor:
        products = [(_matching(activations, layer, a0) * a0).sum() for layer, a0 in targets.items()]
        return torch.stack(products).sum()

    return Energy.of("inner_product", function)


def gram_matrix(a: Tensor, where: Tensor | None = None) -> Tensor:
    """G = F F^T: (n, c, h, w) -> (n, c, c), F the (c, h w) rows of channels. Not divided by anything (Gatys 2015).

    where: weights >= 0 of the places, (1, 1, h, w) or (n, 1, h, w), constants: G = F diag(where) F^T.
    """
    return _Gram.apply(a if where is None else a * where.sqrt())


class _Gram(torch.autograd.Function):
    """F F^T with the slope (dG + dG^T) F, one product where autograd makes two and their sum.

    Places go before channels, as they lie in the channels-last memory of convolutions: nothing is copied either way.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        places = a.permute(0, 2, 3, 1).flatten(1, 2)  # (n, h w, c)
        return places.mT @ places

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (slope,), (a,) = gradients, ctx.saved_tensors
        places = a.permute(0, 2, 3, 1).flatten(1, 2)
        return (places @ (slope + slope.mT)).unflatten(1, a.shape[2:]).permute(0, 3, 1, 2)


def gram_distance(target: Activations, where: Tensor | None = None) -> Energy:
    """sum over layers of E = sum (G / M - G0 / M0)^2 / (4 N^2), N channels and M places.

    target: the exemplar's activations; where a map is too large to hold, (n, c, c) of G / M may stand in its place,
        here as in the activations. At equal sizes this is Gatys 2015, eq. 4, 1 / (4 N^2 M^2) sum (G - G0)^2;
    dividing each Gram matrix by its own number of places lets the sizes differ.
    where: weights of the picture's places, (1, 1, h, w) >= 0, averaged to the size of each layer; M is then their sum
        (the guided Gram matrix of Gatys 2017). The exemplar always counts as a whole. Raises ValueError below 0.
    """
    require(where is None or bool((where >= 0).all()), "weights of places are at least 0")
    correlations = {layer: _correlations(a, None) for layer, a in _targets(target).items()}

    def function(activations: Activations, image: Tensor) -> Tensor:
        errors = []
        for layer, g0 in correlations.items():
            a = _tapped(activations, layer)
            require(
                a.shape[1] == g0.shape[1],
                f"{_called(layer)} has {a.shape[1]} channels, its target {g0.shape[1]}",
            )
            errors.append((_correlations(a, where) - g0).square().sum() / (4 * a.shape[1] ** 2))
        return torch.stack(errors).sum()

    return Energy.of(f"gram_distance({', '.join(map(repr, correlations))})", function)


def _correlations(a: Tensor, where: Tensor | None) -> Tensor:
    """G / M: (n, c, h, w) -> (n, c, c); what is (n, c, c) already, stays."""
    if a.dim() == 3:
        return a
    if where is None:
        return gram_matrix(a) / a[0, 0].numel()
    places = F.adaptive_avg_pool2d(where.to(a), (a.shape[2], a.shape[3]))
    return gram_matrix(a, places) / places.sum()


# ---------------------------------------------------------------- of the image


def total_variation(beta: float = 2.0) -> Energy:
    """sum over places and channels of ((x[i, j+1] - x[i, j])^2 + (x[i+1, j] - x[i, j])^2)^(beta / 2).

    Forward differences, the last row and column repeated. beta 1 is the classic norm, 2 is smoother
    (Mahendran and Vedaldi 2015, section 2). On flat ground the gradient is zero, even where beta < 2 leaves it open.
    """

    def function(activations: Activations, image: Tensor) -> Tensor:
        if beta == 2:
            return image.diff(dim=3).square().sum() + image.diff(dim=2).square().sum()
        squares = F.pad(image.diff(dim=3), (0, 1)).square() + F.pad(image.diff(dim=2), (0, 0, 0, 1)).square()
        sloped = squares > 0
        return torch.where(sloped, torch.where(sloped, squares, 1.0) ** (beta / 2), 0.0).sum()

    return Energy.of(f"total_variation(beta={beta:g})", function)


def alpha_norm(alpha: float = 6.0) -> Energy:
    """sum |x - 1/2|^alpha over places and channels: keeps the range (6) or the contrast (2) of the picture small.

    Mahendran and Vedaldi 2015 subtract the training set's mean; pictures here are in [0, 1] and their zero is mid grey.
    """

    def function(activations: Activations, image: Tensor) -> Tensor:
        return (image - 0.5).abs().pow(alpha).sum()

    return Energy.of(f"alpha_norm(alpha={alpha:g})", function)
