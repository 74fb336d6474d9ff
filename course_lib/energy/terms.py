"""Energies, and the terms that most of the course is made of: of activations, and of the image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require, unknown
from course_lib.inputs import check_range, scores, whole

Activations = Mapping[str, Tensor]
Function = Callable[[Activations, Tensor], Tensor]  # (activations, image) -> scalar


class Term(NamedTuple):
    """weight * function(activations, image).

    Attributes:
        name: What to call it in a history or a plot.
        weight: Its factor.
        function: (activations by layer, image) -> scalar.
        layers: Names of the layers whose activations the function reads.
    """

    name: str
    weight: float
    function: Function
    layers: tuple[str, ...] = ()


class Energy:
    """A sum of weighted terms: ``E(a, x) = sum_k w_k f_k(a, x)``, a the activations and x the image.

    Args:
        terms: The terms.

    Attributes:
        terms: The same.

    Example:
        >>> energy = -1 * activation("conv3", 3) + 0.1 * squared_norm("conv1") + total_variation()
        >>> energy
        -1 * activation('conv3', 3) + 0.1 * squared_norm('conv1') + total_variation(beta=2)
        >>> energy.layers
        ('conv3', 'conv1')
    """

    def __init__(self, *terms: Term):
        self.terms = terms

    @classmethod
    def of(cls, name: str, function: Function, layers: Sequence[str] = ()) -> "Energy":
        """An energy of your own, with weight 1.

        Args:
            name: What to call it.
            function: (activations by layer, image) -> scalar.
            layers: Names of the layers whose activations it reads; "" is the output.
        """
        return cls(Term(name, 1.0, function, tuple(layers)))

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that its terms need, each once, in the order of the terms; "" is the output."""
        return tuple(dict.fromkeys(layer for term in self.terms for layer in term.layers))

    def parts(self, activations: Activations, image: Tensor) -> dict[str, Tensor]:
        """The weighted value of each term, by name; a name that occurs again is numbered.

        Args:
            activations: By layer, as `taps.Taps` gives them.
            image: (n, 3, h, w).

        Raises:
            ValueError: A layer that a term needs is not among the activations.
        """
        parts: dict[str, Tensor] = {}
        for term in self.terms:
            check_layers(term, activations)
            key, copies = term.name, 1
            while key in parts:
                copies += 1
                key = f"{term.name} #{copies}"
            parts[key] = term.weight * term.function(activations, image)
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
        return " + ".join(term.name if term.weight == 1 else f"{term.weight:g} * {term.name}" for term in self.terms)


def check_layers(term: Term, known: Mapping[str, object]) -> None:
    """Raise unless every layer that a term needs is known.

    Args:
        term: The term.
        known: Activations or modules, by layer.

    Raises:
        ValueError: It names the term, the layer, and the nearest names.
    """
    for layer in term.layers:
        if layer not in known:
            raise unknown("layer", layer, [name for name in known if name], f"the term {term.name}")


def called(layer: str) -> str:
    return f"layer {layer!r}" if layer else "the output"


# ---------------------------------------------------------------- of activations


def activation(layer: str, channel: int | Sequence[int] | Tensor, at: tuple[int, int] | None = None) -> Energy:
    """Mean over positions of one channel, ``1/(h w) sum_ij a[channel, i, j]``, in the layer's own units.

    Args:
        layer: Name of the layer; "" is the output.
        channel: An int, or n of them, one for each image of the batch (list, tuple, array or tensor).
        at: (row, column) of the one position that counts instead of the mean. Fully connected layers have none.

    Returns:
        An energy. When evaluated, it raises ValueError for a channel or a position that is not there, and for
        activations that are neither (n, c) nor (n, c, h, w), such as a transformer's tokens.

    Raises:
        TypeError: A channel that is no whole number.

    Example:
        >>> a = {"conv1": torch.arange(8.0).view(1, 2, 2, 2)}
        >>> activation("conv1", 1)(a, torch.zeros(1, 3, 4, 4))
        tensor(5.5000)
    """
    chosen = whole(channel, "channel")
    what = f"{'channel' if layer else 'class'} of {called(layer)}"

    def function(activations: Activations, image: Tensor) -> Tensor:
        a = activations[layer]
        if a.dim() not in (2, 4):
            raise ValueError(f"{called(layer)} outputs {tuple(a.shape)}, neither (n, c) nor (n, c, h, w): no channels")
        check_range(chosen, a.shape[1], what, len(a))
        maps = a[:, chosen] if isinstance(chosen, int) else a[torch.arange(len(a)), chosen]  # (n,) or (n, h, w)
        if at is None:
            return maps.sum() / (maps.numel() // len(maps))
        require(maps.dim() == 3, f"{called(layer)} has no positions, so at={at} means nothing")
        inside = all(0 <= i < side for i, side in zip(at, maps.shape[1:], strict=True))
        require(inside, f"no position {at} in {called(layer)}, which is {maps.shape[1]} x {maps.shape[2]}")
        return maps[:, at[0], at[1]].sum()

    shown = chosen if isinstance(chosen, int) else "..."
    return Energy.of(f"activation({layer!r}, {shown}{'' if at is None else f', at={at}'})", function, [layer])


def cross_entropy(layer: str, labels: int | Sequence[int] | Tensor) -> Energy:
    """``-log softmax(a)[label]``, in nats.

    Args:
        layer: Name of the layer of logits (n, classes); "" is the output.
        labels: An int, or n of them, one for each image.

    Returns:
        An energy. When evaluated, it raises ValueError for a label out of range.

    Raises:
        TypeError: A label that is no whole number.
    """
    chosen = whole(labels, "label")

    def function(activations: Activations, image: Tensor) -> Tensor:
        logits = activations[layer]  # (n, classes)
        check_range(chosen, logits.shape[1], f"class of {called(layer)}", len(logits))
        wanted = torch.full((len(logits),), chosen) if isinstance(chosen, int) else chosen
        return -scores(F.log_softmax(logits, 1), wanted).sum()

    return Energy.of(f"cross_entropy({layer!r})", function, [layer])


def squared_norm(*layers: str) -> Energy:
    """``sum a^2`` over every layer named: what DeepDream maximises.

    Args:
        layers: Names, at least one; "" is the output.

    Raises:
        ValueError: No layer.
    """
    require(len(layers) > 0, "squared_norm needs the name of at least one layer")

    def function(activations: Activations, image: Tensor) -> Tensor:
        return torch.stack([activations[layer].square().sum() for layer in layers]).sum()

    return Energy.of(f"squared_norm({', '.join(map(repr, layers))})", function, layers)


def constants(target: Activations | Tensor) -> dict[str, Tensor]:
    """A code to aim at, as constants by layer; a bare tensor is the output, layer ''."""
    named = {"": target} if isinstance(target, Tensor) else target
    return {layer: value.detach() for layer, value in named.items()}


def _matching(activations: Activations, layer: str, target: Tensor) -> Tensor:
    a = activations[layer]
    same = a.shape[1:] == target.shape[1:] and len(target) in (1, len(a))
    require(same, f"{called(layer)} outputs {tuple(a.shape)}, but its target is {tuple(target.shape)}")
    return a


def distance(target: Activations | Tensor) -> Energy:
    """``|a - a0|^2 / |a0|^2``, summed over layers and images; 0 is a perfect match, 1 the distance of a code of zeros.

    Args:
        target: a0: activations by layer, from `taps.Taps`, or the tensor that `features` returns. (1, ...) aims every
            image at one code.

    Returns:
        An energy. When evaluated, it raises ValueError for other shapes than the target's.

    Source: Mahendran and Vedaldi 2015, eq. 3.
    """
    targets = constants(target)

    def function(activations: Activations, image: Tensor) -> Tensor:
        errors = []
        for layer, a0 in targets.items():
            a = _matching(activations, layer, a0)
            errors.append(((a - a0).flatten(1).square().sum(1) / a0.flatten(1).square().sum(1)).sum())
        return torch.stack(errors).sum()

    return Energy.of("distance", function, tuple(targets))


def inner_product(target: Activations | Tensor) -> Energy:
    """``<a, a0>``, summed over layers and images; maximised in a caricature.

    Args:
        target: a0, as in `distance`.

    Returns:
        An energy. When evaluated, it raises ValueError for other shapes than the target's.

    Source: Mahendran and Vedaldi 2016.
    """
    targets = constants(target)

    def function(activations: Activations, image: Tensor) -> Tensor:
        products = [(_matching(activations, layer, a0) * a0).sum() for layer, a0 in targets.items()]
        return torch.stack(products).sum()

    return Energy.of("inner_product", function, tuple(targets))


def gram_matrix(a: Tensor, where: Tensor | None = None) -> Tensor:
    """``G = F F^T``, F the (c, h w) rows of channels; not divided by anything.

    Args:
        a: Maps (n, c, h, w).
        where: Weights of the positions, at least 0, (1, 1, h, w) or (n, 1, h, w), constants: ``G = F diag(where) F^T``.

    Returns:
        (n, c, c).

    Raises:
        ValueError: What has no positions has no Gram matrix.

    Source: Gatys 2015, eq. 3.

    Example:
        >>> gram_matrix(torch.ones(1, 2, 3, 3)).tolist()
        [[[9.0, 9.0], [9.0, 9.0]]]
    """
    if a.dim() != 4:
        raise ValueError(f"a Gram matrix is of maps (n, c, h, w), got {tuple(a.shape)}")
    return cast(Tensor, _Gram.apply(a if where is None else a * where.sqrt()))


class _Gram(torch.autograd.Function):
    """F F^T with the gradient (dG + dG^T) F, one product where autograd makes two and their sum.

    Positions go before channels, as they lie in the channels-last memory of convolutions: nothing is copied either way.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        rows = a.permute(0, 2, 3, 1).flatten(1, 2)  # (n, h w, c)
        return rows.mT @ rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,), (a,) = gradients, ctx.saved_tensors
        rows: Tensor = a.permute(0, 2, 3, 1).flatten(1, 2)
        back: Tensor = (rows @ (gradient + gradient.mT)).unflatten(1, a.shape[2:]).permute(0, 3, 1, 2)
        return back


def gram_distance(target: Activations, where: Tensor | None = None) -> Energy:
    """``sum over layers of sum (G / M - G0 / M0)^2 / (4 N^2)``, N channels and M positions.

    At equal sizes this is Gatys' ``1 / (4 N^2 M^2) sum (G - G0)^2``; dividing each Gram matrix by its own number of
    positions lets the sizes differ.

    Args:
        target: The exemplar's activations by layer. Where a map is too large to hold, (n, c, c) of G / M may stand in
            its place, here as in the activations.
        where: Weights of the image's positions, (1, 1, h, w) >= 0, averaged to the size of each layer; M is then their
            sum (the guided Gram matrix of Gatys 2017). The exemplar always counts as a whole.

    Returns:
        An energy. When evaluated, it raises ValueError for another number of channels than the target's.

    Raises:
        ValueError: Weights below 0, or a layer without positions.

    Source: Gatys 2015, eq. 4.
    """
    require(where is None or bool((where >= 0).all()), "weights of positions are at least 0")
    correlations = {layer: _correlations(a, None) for layer, a in constants(target).items()}

    def function(activations: Activations, image: Tensor) -> Tensor:
        errors = []
        for layer, g0 in correlations.items():
            a = activations[layer]
            require(
                a.shape[1] == g0.shape[1],
                f"{called(layer)} has {a.shape[1]} channels, its target {g0.shape[1]}",
            )
            errors.append((_correlations(a, where) - g0).square().sum() / (4 * a.shape[1] ** 2))
        return torch.stack(errors).sum()

    return Energy.of(f"gram_distance({', '.join(map(repr, correlations))})", function, tuple(correlations))


def _correlations(a: Tensor, where: Tensor | None) -> Tensor:
    """G / M: (n, c, h, w) -> (n, c, c); what is (n, c, c) already, stays."""
    if a.dim() == 3 and a.shape[1] == a.shape[2]:
        return a
    if where is None:
        return gram_matrix(a) / a[0, 0].numel()
    weights = F.adaptive_avg_pool2d(where.to(a), (a.shape[2], a.shape[3]))
    return gram_matrix(a, weights) / weights.sum()


# ---------------------------------------------------------------- of the image


def total_variation(beta: float = 2.0) -> Energy:
    """``sum ((x[i, j+1] - x[i, j])^2 + (x[i+1, j] - x[i, j])^2)^(beta / 2)`` over positions and channels.

    Forward differences, the last row and column repeated. On flat ground the gradient is zero, even where beta < 2
    leaves it open.

    Args:
        beta: 1 is the classic norm, 2 is smoother.

    Source: Mahendran and Vedaldi 2015, section 2.

    Example:
        >>> x = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
        >>> total_variation()({}, x)  # 1 + 4 in the corner, 4 to its right, 1 below it
        tensor(10.)
    """

    def function(activations: Activations, image: Tensor) -> Tensor:
        if beta == 2:
            return image.diff(dim=3).square().sum() + image.diff(dim=2).square().sum()
        squares = F.pad(image.diff(dim=3), (0, 1)).square() + F.pad(image.diff(dim=2), (0, 0, 0, 1)).square()
        steep = squares > 0
        return torch.where(steep, torch.where(steep, squares, 1.0) ** (beta / 2), 0.0).sum()

    return Energy.of(f"total_variation(beta={beta:g})", function)


def alpha_norm(alpha: float = 6.0) -> Energy:
    """``sum |x - 1/2|^alpha`` over positions and channels.

    Args:
        alpha: 6 keeps the range of the image small, 2 its contrast.

    Source: Mahendran and Vedaldi 2015, who subtract the training set's mean; images here are in [0, 1], and their zero
    is mid grey.
    """

    def function(activations: Activations, image: Tensor) -> Tensor:
        return (image - 0.5).abs().pow(alpha).sum()

    return Energy.of(f"alpha_norm(alpha={alpha:g})", function)
