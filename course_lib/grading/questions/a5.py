"""Assignment 5: texture, style, random weights."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from course_lib import energy
from course_lib.energy import Energy
from course_lib.grading.plain import Plain, net
from course_lib.grading.question import CS231N, EECS498, Assignment, Mistake, Part, Question, Written
from course_lib.images import Pixels
from course_lib.taps import Taps

__all__ = ["ASSIGNMENT"]

# ---------------------------------------------------------------- distances of neighbourhoods


def window_distances(exemplar: Tensor, around: Tensor, known: Tensor) -> Tensor:
    side = len(known)
    off = torch.arange(side, dtype=exemplar.dtype) - side // 2
    weight = torch.exp(-(off[:, None] ** 2 + off**2) / (2 * (side / 6.4) ** 2)) * known
    windows = exemplar.unfold(1, side, 1).unfold(2, side, 1)  # (3, rows, columns, side, side)
    return (weight * (windows - around[:, None, None]) ** 2).sum((0, 3, 4)) / weight.sum()


def window_part(name: str, points: float, unknown: bool) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """An exemplar that is wider than high, and a window whose unknown positions hold anything."""
        exemplar, around = (
            torch.rand(3, *size, generator=generator, dtype=torch.float64) for size in ((9, 12), (5, 5))
        )
        known = torch.ones(5, 5, dtype=torch.bool)
        if unknown:  # what comes later in reading order, and one position before
            known.view(-1)[12:] = False
            known.view(-1)[torch.randint(10, (1,), generator=generator)] = False
        return {"exemplar": exemplar, "around": around, "known": known}

    return Part(name, points, inputs)


def all_positions_counted(exemplar: Tensor, around: Tensor, known: Tensor) -> Tensor:
    side = len(known)
    off = torch.arange(side) - side // 2
    weight = torch.exp(-(off[:, None] ** 2 + off**2) / (2 * (side / 6.4) ** 2))
    windows = exemplar.unfold(1, side, 1).unfold(2, side, 1)
    return (weight * (windows - around[:, None, None]) ** 2).sum((0, 3, 4)) / weight.sum()


def divided_by_all_weights(exemplar: Tensor, around: Tensor, known: Tensor) -> Tensor:
    side = len(known)
    off = torch.arange(side) - side // 2
    weight = torch.exp(-(off[:, None] ** 2 + off**2) / (2 * (side / 6.4) ** 2))
    windows = exemplar.unfold(1, side, 1).unfold(2, side, 1)
    return (weight * known * (windows - around[:, None, None]) ** 2).sum((0, 3, 4)) / weight.sum()


def every_position_the_same(exemplar: Tensor, around: Tensor, known: Tensor) -> Tensor:
    side = len(known)
    windows = exemplar.unfold(1, side, 1).unfold(2, side, 1)
    return (known * (windows - around[:, None, None]) ** 2).sum((0, 3, 4)) / known.sum()


def not_divided(exemplar: Tensor, around: Tensor, known: Tensor) -> Tensor:
    side = len(known)
    off = torch.arange(side) - side // 2
    weight = torch.exp(-(off[:, None] ** 2 + off**2) / (2 * (side / 6.4) ** 2)) * known
    windows = exemplar.unfold(1, side, 1).unfold(2, side, 1)
    return (weight * (windows - around[:, None, None]) ** 2).sum((0, 3, 4))


def narrow_gaussian(exemplar: Tensor, around: Tensor, known: Tensor) -> Tensor:
    side = len(known)
    off = torch.arange(side) - side // 2
    weight = torch.exp(-(off[:, None] ** 2 + off**2) / (side / 6.4) ** 2) * known
    windows = exemplar.unfold(1, side, 1).unfold(2, side, 1)
    return (weight * (windows - around[:, None, None]) ** 2).sum((0, 3, 4)) / weight.sum()


def absolute_differences(exemplar: Tensor, around: Tensor, known: Tensor) -> Tensor:
    side = len(known)
    off = torch.arange(side) - side // 2
    weight = torch.exp(-(off[:, None] ** 2 + off**2) / (2 * (side / 6.4) ** 2)) * known
    windows = exemplar.unfold(1, side, 1).unfold(2, side, 1)
    return (weight * (windows - around[:, None, None]).abs()).sum((0, 3, 4)) / weight.sum()


def root_of_the_mean(exemplar: Tensor, around: Tensor, known: Tensor) -> Tensor:
    side = len(known)
    off = torch.arange(side) - side // 2
    weight = torch.exp(-(off[:, None] ** 2 + off**2) / (2 * (side / 6.4) ** 2)) * known
    windows = exemplar.unfold(1, side, 1).unfold(2, side, 1)
    return ((weight * (windows - around[:, None, None]) ** 2).sum((0, 3, 4)) / weight.sum()).sqrt()


def from_the_corner(exemplar: Tensor, around: Tensor, known: Tensor) -> Tensor:
    side = len(known)
    off = torch.arange(side)
    weight = torch.exp(-(off[:, None] ** 2 + off**2) / (2 * (side / 6.4) ** 2)) * known
    windows = exemplar.unfold(1, side, 1).unfold(2, side, 1)
    return (weight * (windows - around[:, None, None]) ** 2).sum((0, 3, 4)) / weight.sum()


WINDOW_DISTANCES = Question(
    name="a5.window_distances",
    function="window_distances",
    reference=window_distances,
    parts=(window_part("everything known", 4, False), window_part("half of the window unknown", 6, True)),
    mistakes=(
        Mistake("unknown positions are compared, too", all_positions_counted, 4),
        Mistake("the sum is divided by the weights of all positions, not of the known ones", divided_by_all_weights, 4),
        Mistake("the Gaussian is missing: all positions have one weight", every_position_the_same),
        Mistake("the sum is not divided by the weights", not_divided),
        Mistake("the Gaussian's exponent lacks its factor 1/2", narrow_gaussian),
        Mistake("the differences are not squared", absolute_differences),
        Mistake("the root of the weighted mean is returned", root_of_the_mean),
        Mistake("the offsets are counted from the window's corner, and not from its middle", from_the_corner),
    ),
)

# ---------------------------------------------------------------- the Gram matrix


def maps(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gram_matrix(a: Tensor) -> Tensor:
    return energy.gram_matrix(a)


def gram_part(name: str, points: float, *shape: int) -> Part:
    return Part(name, points, lambda generator: {"a": maps(generator, *shape)})


def gram_of_the_mean(a: Tensor) -> Tensor:
    rows = a.flatten(2)
    return rows @ rows.mT / rows.shape[2]


def gram_of_positions(a: Tensor) -> Tensor:
    rows = a.flatten(2)
    return rows.mT @ rows


def covariance(a: Tensor) -> Tensor:
    rows = a.flatten(2)
    rows = rows - rows.mean(2, keepdim=True)
    return rows @ rows.mT


def one_gram_for_all(a: Tensor) -> Tensor:
    return torch.einsum("nchw,ndhw->cd", a, a).expand(len(a), -1, -1)


def channels_and_positions_mixed(a: Tensor) -> Tensor:
    n, c, h, w = a.shape
    rows = a.permute(0, 2, 3, 1).reshape(n, c, h * w)
    return rows @ rows.mT


def reshaped_not_transposed(a: Tensor) -> Tensor:
    n, c, h, w = a.shape
    rows = a.reshape(n, h * w, c)
    return rows.mT @ rows


def over_all_activations(a: Tensor) -> Tensor:
    rows = a.flatten(2)
    return rows @ rows.mT / a[0].numel()


def images_as_channels(a: Tensor) -> Tensor:
    rows = a.flatten(0, 1).flatten(1)
    return rows @ rows.T


GRAM_MATRIX = Question(
    name="a5.gram_matrix",
    function="gram_matrix",
    reference=gram_matrix,
    parts=(gram_part("one image", 3, 1, 5, 4, 4), gram_part("a batch, wider than high", 2, 3, 5, 4, 6)),
    mistakes=(
        Mistake("it was divided by the number of positions; here nothing is divided yet", gram_of_the_mean),
        Mistake("positions were multiplied with positions, and not channels with channels", gram_of_positions),
        Mistake("the mean was taken off first: that is a covariance", covariance),
        Mistake("the images of a batch were added up", one_gram_for_all, 3, seen=(CS231N,)),
        Mistake("channels and positions were mixed by a reshape after a permute", channels_and_positions_mixed),
        Mistake("reshape(n, h w, c) is no transpose: it mixes channels and positions", reshaped_not_transposed),
        Mistake(
            "it was divided by the number of all activations, c h w; here nothing is divided yet",
            over_all_activations,
            seen=(CS231N, EECS498),
        ),
        Mistake(
            "images and channels became one dimension; each image has a matrix of its own",
            images_as_channels,
            seen=(CS231N,),
        ),
    ),
)

# ---------------------------------------------------------------- the energy of a texture


def texture_energy(activations: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    terms = [weight * energy.gram_distance({layer: targets[layer]}) for layer, weight in weights.items()]
    return sum(terms)(activations, torch.empty(0))  # type: ignore[operator]  # a sum of energies is an energy


SHAPES = {"relu1": (4, 8, 6), "relu2": (7, 4, 3)}  # the second layer has more channels, and fewer positions


def energy_part(name: str, points: float, layers: tuple[str, ...], *, n: int = 1, larger: int = 0) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        activations, targets = {}, {}
        for layer in layers:
            c, h, w = SHAPES[layer]
            activations[layer] = maps(generator, n, c, h, w)
            targets[layer] = maps(generator, 1, c, h + larger, w + larger)
        drawn = torch.rand(len(layers), generator=generator).tolist()
        weights = {layer: 0.5 + 2 * u if len(layers) > 1 else 1.0 for layer, u in zip(layers, drawn, strict=True)}
        return {"activations": activations, "targets": targets, "weights": weights}

    return Part(name, points, inputs)


def both_over_one_size(activations: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    total = torch.zeros(())
    for layer, weight in weights.items():
        a, b = activations[layer].flatten(2), targets[layer].flatten(2)
        c, positions = a.shape[1:]
        total = total + weight * (a @ a.mT - b @ b.mT).square().sum() / (4 * c**2 * positions**2)
    return total


def weights_left_out(activations: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    total = torch.zeros(())
    for layer in weights:
        a, b = activations[layer].flatten(2), targets[layer].flatten(2)
        gap = a @ a.mT / a.shape[2] - b @ b.mT / b.shape[2]
        total = total + gap.square().sum() / (4 * a.shape[1] ** 2)
    return total


def mean_of_squares(activations: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    total = torch.zeros(())
    for layer, weight in weights.items():
        a, b = activations[layer].flatten(2), targets[layer].flatten(2)
        total = total + weight * (a @ a.mT / a.shape[2] - b @ b.mT / b.shape[2]).square().mean()
    return total


def channels_not_counted(
    activations: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float]
) -> Tensor:
    total = torch.zeros(())
    for layer, weight in weights.items():
        a, b = activations[layer].flatten(2), targets[layer].flatten(2)
        total = total + weight * (a @ a.mT / a.shape[2] - b @ b.mT / b.shape[2]).square().sum()
    return total


def positions_not_counted(
    activations: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float]
) -> Tensor:
    total = torch.zeros(())
    for layer, weight in weights.items():
        a, b = activations[layer].flatten(2), targets[layer].flatten(2)
        total = total + weight * (a @ a.mT - b @ b.mT).square().sum() / (4 * a.shape[1] ** 2)
    return total


def activations_compared(
    activations: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float]
) -> Tensor:
    total = torch.zeros(())
    for layer, weight in weights.items():
        a, b = activations[layer], targets[layer]
        total = total + weight * (a - b).square().sum() / (4 * a.shape[1] ** 2)
    return total


def absolute_gaps(activations: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    total = torch.zeros(())
    for layer, weight in weights.items():
        a, b = activations[layer].flatten(2), targets[layer].flatten(2)
        gap = a @ a.mT / a.shape[2] - b @ b.mT / b.shape[2]
        total = total + weight * gap.abs().sum() / (4 * a.shape[1] ** 2)
    return total


TEXTURE_ENERGY = Question(
    name="a5.texture_energy",
    function="texture_energy",
    reference=texture_energy,
    parts=(
        energy_part("one layer", 4, ("relu1",)),
        energy_part("a batch, two layers with their weights", 3, ("relu1", "relu2"), n=2),
        energy_part("an exemplar of another size", 3, ("relu2",), larger=3),
    ),
    mistakes=(
        Mistake("both Gram matrices are divided by the image's number of positions", both_over_one_size, 7),
        Mistake("the weights of the layers are not used", weights_left_out, 7, seen=(CS231N,)),
        Mistake("the factor 1/4 is missing (a mean divides by N^2 alone)", mean_of_squares, seen=(CS231N, EECS498)),
        Mistake("the factor 1 / (4 N^2) is missing", channels_not_counted),
        Mistake("the Gram matrices are not divided by their numbers of positions", positions_not_counted),
        Mistake("activations are compared position by position, and not their Gram matrices", activations_compared),
        Mistake("the absolute differences are summed, and not their squares", absolute_gaps),
    ),
)

# ---------------------------------------------------------------- the gradient of the Gram distance


def gram_slope(a: Tensor, target: Tensor) -> Tensor:
    x = a.detach().requires_grad_()
    value = energy.gram_distance({"": target})({"": x}, x)
    (gradient,) = torch.autograd.grad(value, x)
    return gradient


def gradient_part(name: str, points: float, n: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        rows = maps(generator, n, 5, 30)
        return {"a": maps(generator, n, 5, 6, 4), "target": rows @ rows.mT / 30}

    return Part(name, points, inputs)


def half_of_the_gradient(a: Tensor, target: Tensor) -> Tensor:
    rows = a.flatten(2)
    c, positions = rows.shape[1:]
    return ((rows @ rows.mT / positions - target) @ rows / (2 * c**2 * positions)).view_as(a)


def towards_the_target(a: Tensor, target: Tensor) -> Tensor:
    rows = a.flatten(2)
    c, positions = rows.shape[1:]
    return ((target - rows @ rows.mT / positions) @ rows / (c**2 * positions)).view_as(a)


def positions_squared(a: Tensor, target: Tensor) -> Tensor:
    rows = a.flatten(2)
    c, positions = rows.shape[1:]
    return ((rows @ rows.mT / positions - target) @ rows / (c**2 * positions**2)).view_as(a)


def cut_at_zero(a: Tensor, target: Tensor) -> Tensor:
    rows = a.flatten(2)
    c, positions = rows.shape[1:]
    return ((rows @ rows.mT / positions - target) @ rows / (c**2 * positions)).view_as(a) * (a > 0)


def the_first_for_all(a: Tensor, target: Tensor) -> Tensor:
    rows = a[:1].flatten(2)
    c, positions = rows.shape[1:]
    return ((rows @ rows.mT / positions - target[:1]) @ a.flatten(2) / (c**2 * positions)).view_as(a)


def channels_once(a: Tensor, target: Tensor) -> Tensor:
    rows = a.flatten(2)
    c, positions = rows.shape[1:]
    return ((rows @ rows.mT / positions - target) @ rows / (c * positions)).view_as(a)


GRAM_SLOPE = Question(
    name="a5.gram_slope",
    function="gram_slope",
    reference=gram_slope,
    parts=(gradient_part("one image", 6, 1), gradient_part("a batch", 4, 3)),
    mistakes=(
        Mistake("a factor 2 is missing: F stands in F F^T twice", half_of_the_gradient),
        Mistake("the difference is taken the wrong way round: this leads uphill", towards_the_target),
        Mistake("it is divided by M^2; one M is in G / M already", positions_squared),
        Mistake("negative activations get no gradient; the ReLU below sees to that", cut_at_zero),
        Mistake("the first image's Gram matrix is used for all", the_first_for_all, 6),
        Mistake("the gradient of the whole is divided by N, and not by N^2", channels_once),
    ),
    by_hand=True,
)

# ---------------------------------------------------------------- what is kept of the content


def content_energy(a: Tensor, a0: Tensor) -> Tensor:
    return 0.5 * F.mse_loss(a, a0, reduction="sum")


def content_part(name: str, points: float, *shape: int) -> Part:
    return Part(name, points, lambda generator: {"a": maps(generator, *shape), "a0": maps(generator, *shape)})


def whole_squares(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).square().sum()


def mean_of_all(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).square().mean()


def length_of_the_gap(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).square().sum().sqrt() / 2


def sizes_of_the_gaps(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).abs().sum() / 2


def one_for_each_image(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).flatten(1).square().sum(1) / 2


def content_of_the_first_image(a: Tensor, a0: Tensor) -> Tensor:
    return (a[0] - a0[0]).square().sum() / 2


CONTENT_ENERGY = Question(
    name="a5.content_energy",
    function="content_energy",
    reference=content_energy,
    parts=(content_part("one image", 1, 1, 4, 5, 6), content_part("a batch", 1, 3, 4, 5, 6)),
    mistakes=(
        Mistake("the factor 1/2 is missing", whole_squares, seen=(CS231N, EECS498)),
        Mistake("the squares are averaged, and they should be summed", mean_of_all),
        Mistake("the root of the sum is taken", length_of_the_gap),
        Mistake("the gaps are not squared", sizes_of_the_gaps),
        Mistake("each image gets a number of its own, and one sum for the batch is asked for", one_for_each_image),
        Mistake("only the first image counts", content_of_the_first_image, 1, seen=(CS231N,)),
    ),
)

# ---------------------------------------------------------------- roughness


def total_variation(x: Tensor) -> Tensor:
    return F.mse_loss(x[..., 1:], x[..., :-1], reduction="sum") + F.mse_loss(
        x[..., 1:, :], x[..., :-1, :], reduction="sum"
    )


def variation_part(name: str, points: float, *shape: int) -> Part:
    return Part(name, points, lambda generator: {"x": torch.rand(*shape, generator=generator, dtype=torch.float64)})


def not_squared(x: Tensor) -> Tensor:
    return x.diff(dim=2).abs().sum() + x.diff(dim=3).abs().sum()


def averaged(x: Tensor) -> Tensor:
    return x.diff(dim=2).square().mean() + x.diff(dim=3).square().mean()


def round_the_border(x: Tensor) -> Tensor:
    return (x - x.roll(1, 2)).square().sum() + (x - x.roll(1, 3)).square().sum()


def across_only(x: Tensor) -> Tensor:
    return x.diff(dim=3).square().sum()


def last_row_and_column_cut(x: Tensor) -> Tensor:
    here = x[..., :-1, :-1]
    return (x[..., 1:, :-1] - here).square().sum() + (x[..., :-1, 1:] - here).square().sum()


def first_image_alone(x: Tensor) -> Tensor:
    return x[0].diff(dim=1).square().sum() + x[0].diff(dim=2).square().sum()


TOTAL_VARIATION = Question(
    name="a5.total_variation",
    function="total_variation",
    reference=total_variation,
    parts=(variation_part("one image, wider than high", 2, 1, 3, 5, 7), variation_part("a batch", 1, 3, 3, 6, 4)),
    mistakes=(
        Mistake("the differences are not squared", not_squared),
        Mistake("the squares are averaged, and they should be summed", averaged),
        Mistake("the image continues at the other border", round_the_border),
        Mistake("only the differences across are there, and none down", across_only),
        Mistake("the last row and the last column lose differences that they have", last_row_and_column_cut),
        Mistake("only the first image counts", first_image_alone, 2, seen=(EECS498,)),
    ),
)

# ---------------------------------------------------------------- style transfer, whole


def transfer(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    loss = alpha / 2 * Energy.of("content", lambda a, x: (a[deep] - goal).square().sum(), [deep])
    loss = loss + sum(weight * energy.gram_distance({layer: taps(style)[layer]}) for layer, weight in weights.items())
    goal, image = taps(content)[deep], Pixels(content)
    engine = torch.optim.Adam(image.parameters(), lr=rate)
    for _ in range(steps):
        x = image()
        value = loss(taps(x), x) + smoothness * total_variation(x)
        engine.zero_grad()
        value.backward()
        engine.step()
        image.project()
    return image.pixels.detach()


def transfer_part(
    name: str,
    points: float,
    *,
    alpha: float,
    smoothness: float,
    steps: int,
    n: int = 1,
    reach: float = 0.2,
    rate: float = 0.03,
) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Colours at most `reach` from grey; two layers of style, the second of which holds the content, too."""
        drawn = torch.rand(n + 1, 3, 16, 16, generator=generator, dtype=torch.float64)
        drawn = 0.5 + reach * (2 * drawn - 1)
        weights = (10 ** (1 + torch.rand(2, generator=generator))).tolist()
        return {
            "net": net(generator),
            "content": drawn[:n],
            "style": drawn[n:],
            "deep": "relu2",
            "weights": dict(zip(("relu1", "relu2"), weights, strict=True)),
            "alpha": alpha,
            "smoothness": smoothness,
            "steps": steps,
            "rate": rate,
        }

    return Part(name, points, inputs)


def content_anew(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        goal = a[deep].detach()
        loss = (
            alpha * content_energy(a[deep], goal)
            + texture_energy(a, targets, weights)
            + smoothness * total_variation(x)
        )
        engine.zero_grad()
        loss.backward()
        engine.step()
        x.data.clamp_(0, 1)
    return x.detach()


def gradients_pile_up(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        loss = (
            alpha * content_energy(a[deep], goal)
            + texture_energy(a, targets, weights)
            + smoothness * total_variation(x)
        )
        loss.backward()
        engine.step()
        x.data.clamp_(0, 1)
    return x.detach()


def never_clamped(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        loss = (
            alpha * content_energy(a[deep], goal)
            + texture_energy(a, targets, weights)
            + smoothness * total_variation(x)
        )
        engine.zero_grad()
        loss.backward()
        engine.step()
    return x.detach()


def clamped_at_the_end(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        loss = (
            alpha * content_energy(a[deep], goal)
            + texture_energy(a, targets, weights)
            + smoothness * total_variation(x)
        )
        engine.zero_grad()
        loss.backward()
        engine.step()
    return x.detach().clamp(0, 1)


def from_grey(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = torch.full_like(content, 0.5).requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        loss = (
            alpha * content_energy(a[deep], goal)
            + texture_energy(a, targets, weights)
            + smoothness * total_variation(x)
        )
        engine.zero_grad()
        loss.backward()
        engine.step()
        x.data.clamp_(0, 1)
    return x.detach()


def plain_descent(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.SGD([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        loss = (
            alpha * content_energy(a[deep], goal)
            + texture_energy(a, targets, weights)
            + smoothness * total_variation(x)
        )
        engine.zero_grad()
        loss.backward()
        engine.step()
        x.data.clamp_(0, 1)
    return x.detach()


def roughness_left_out(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        loss = alpha * content_energy(a[deep], goal) + texture_energy(a, targets, weights)
        engine.zero_grad()
        loss.backward()
        engine.step()
        x.data.clamp_(0, 1)
    return x.detach()


def style_unweighted(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        loss = (
            alpha * content_energy(a[deep], goal)
            + texture_energy(a, targets, dict.fromkeys(weights, 1.0))
            + smoothness * total_variation(x)
        )
        engine.zero_grad()
        loss.backward()
        engine.step()
        x.data.clamp_(0, 1)
    return x.detach()


def clamped_before_the_step(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        x.data.clamp_(0, 1)
        a = taps(x)
        loss = (
            alpha * content_energy(a[deep], goal)
            + texture_energy(a, targets, weights)
            + smoothness * total_variation(x)
        )
        engine.zero_grad()
        loss.backward()
        engine.step()
    return x.detach()


def content_without_its_half(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        loss = (
            alpha * (a[deep] - goal).square().sum()
            + texture_energy(a, targets, weights)
            + smoothness * total_variation(x)
        )
        engine.zero_grad()
        loss.backward()
        engine.step()
        x.data.clamp_(0, 1)
    return x.detach()


def roughness_half_weighted(
    net: nn.Module,
    content: Tensor,
    style: Tensor,
    deep: str,
    weights: dict[str, float],
    alpha: float,
    smoothness: float,
    steps: int,
    rate: float,
) -> Tensor:
    taps = Taps(net, *dict.fromkeys([deep, *weights]))
    goal = taps(content)[deep].detach()
    targets = {name: one.detach() for name, one in taps(style).items()}
    x = content.clone().requires_grad_()
    engine = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        a = taps(x)
        loss = alpha * content_energy(a[deep], goal) + texture_energy(a, targets, weights)
        loss = loss + smoothness * x.diff(dim=3).square().sum() + x.diff(dim=2).square().sum()
        engine.zero_grad()
        loss.backward()
        engine.step()
        x.data.clamp_(0, 1)
    return x.detach()


TRANSFER = Question(
    name="a5.transfer",
    function="transfer",
    reference=transfer,
    parts=(
        transfer_part("style alone, three steps", 5, alpha=0.0, smoothness=0.0, steps=3),
        transfer_part("content and style", 6, alpha=1.0, smoothness=0.0, steps=4),
        transfer_part("near black and white", 5, alpha=0.0, smoothness=0.0, steps=4, reach=0.5, rate=0.2),
        transfer_part("a batch, all terms", 4, alpha=0.3, smoothness=0.03, steps=4, n=2),
    ),
    mistakes=(
        Mistake(
            "nothing keeps the content: its term is missing, or its activations are taken anew at every step",
            content_anew,
            10,
        ),
        Mistake("gradients pile up: they are not set to zero before each step", gradients_pile_up),
        Mistake("the image is not brought back to [0, 1]", never_clamped, 15),
        Mistake("the image is brought back to [0, 1] at the end only, and not after each step", clamped_at_the_end, 15),
        Mistake("the descent starts from grey, and not from the content", from_grey),
        Mistake("the steps are those of plain gradient descent, and not of Adam", plain_descent),
        Mistake("the total variation is left out", roughness_left_out, 16),
        Mistake("the weights of the style layers are not used", style_unweighted),
        Mistake(
            "the image is brought back to [0, 1] before each step, and not after the last one",
            clamped_before_the_step,
            15,
            seen=(CS231N, EECS498),
        ),
        Mistake("the content's term has lost its factor 1/2", content_without_its_half, 10, seen=(CS231N, EECS498)),
        Mistake(
            "tau multiplies only one of the two sums of the total variation", roughness_half_weighted, seen=(CS231N,)
        ),
    ),
    needs=("a5.texture_energy", "a5.content_energy", "a5.total_variation"),
    seconds=20.0,
)

# ---------------------------------------------------------------- colours kept


def keep_colour(content: Tensor, styled: Tensor) -> Tensor:
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=content.dtype)[:, None, None]
    return (content + (luma * (styled - content)).sum(1, keepdim=True)).clamp(0, 1)


def colour_part(name: str, points: float, reach: float) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Colours at most `reach` from grey. With 1/6, no sum of one and two differences leaves [0, 1]."""
        drawn = torch.rand(2, 2, 3, 6, 7, generator=generator, dtype=torch.float64)
        content, styled = 0.5 + reach * (2 * drawn - 1)
        return {"content": content, "styled": styled}

    return Part(name, points, inputs)


def plain_mean(content: Tensor, styled: Tensor) -> Tensor:
    return (content + styled.mean(1, keepdim=True) - content.mean(1, keepdim=True)).clamp(0, 1)


def exchanged(content: Tensor, styled: Tensor) -> Tensor:
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=content.dtype)[:, None, None]
    return (styled + (luma * (content - styled)).sum(1, keepdim=True)).clamp(0, 1)


def never_clipped(content: Tensor, styled: Tensor) -> Tensor:
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=content.dtype)[:, None, None]
    return content + (luma * (styled - content)).sum(1, keepdim=True)


def multiplied(content: Tensor, styled: Tensor) -> Tensor:
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=content.dtype)[:, None, None]
    return (content * (luma * styled).sum(1, keepdim=True) / (luma * content).sum(1, keepdim=True)).clamp(0, 1)


def only_grey(content: Tensor, styled: Tensor) -> Tensor:
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=content.dtype)[:, None, None]
    return (luma * styled).sum(1, keepdim=True).expand_as(content)


def weights_of_another_standard(content: Tensor, styled: Tensor) -> Tensor:
    luma = torch.tensor([0.2126, 0.7152, 0.0722], dtype=content.dtype)[:, None, None]
    return (content + (luma * (styled - content)).sum(1, keepdim=True)).clamp(0, 1)


def blue_first(content: Tensor, styled: Tensor) -> Tensor:
    luma = torch.tensor([0.114, 0.587, 0.299], dtype=content.dtype)[:, None, None]
    return (content + (luma * (styled - content)).sum(1, keepdim=True)).clamp(0, 1)


KEEP_COLOUR = Question(
    name="a5.keep_colour",
    function="keep_colour",
    reference=keep_colour,
    parts=(colour_part("colours near grey", 3, 1 / 6), colour_part("colours that leave the range", 2, 0.5)),
    mistakes=(
        Mistake("the luminance is the plain mean of red, green and blue", plain_mean),
        Mistake("content and style are exchanged", exchanged),
        Mistake("the result is not brought back to [0, 1]", never_clipped, 3),
        Mistake("the colours are multiplied, where the change should be added", multiplied),
        Mistake("the colours of the content are lost: all is grey", only_grey),
        Mistake(
            "the luminance has the weights of television in high definition (0.2126, 0.7152, 0.0722)",
            weights_of_another_standard,
        ),
        Mistake("the three weights are applied to blue, green, red", blue_first),
    ),
)

# ---------------------------------------------------------------- random weights that keep the scale


def unit_variance(weights: list[Tensor], x: Tensor) -> list[Tensor]:
    scaled = []
    for weight in weights:
        output = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        scaled.append(weight / output.std())
        x = F.relu(output / output.std())
    return scaled


def stack_part(name: str, points: float, layers: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Weights of quite different scales, and images whose zero is mid grey."""
        x = 2 * torch.rand(4, 3, 12, 12, generator=generator, dtype=torch.float64) - 1
        scales = 0.05 + torch.rand(layers, generator=generator).double()
        weights = [maps(generator, 6, 3 if i == 0 else 6, 3, 3) * scales[i] for i in range(layers)]
        return {"weights": weights, "x": x}

    return Part(name, points, inputs)


def measured_once(weights: list[Tensor], x: Tensor) -> list[Tensor]:
    scaled = []
    for weight in weights:
        output = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        scaled.append(weight / output.std())
        x = F.relu(output)
    return scaled


def measured_behind_the_relu(weights: list[Tensor], x: Tensor) -> list[Tensor]:
    scaled = []
    for weight in weights:
        x = F.relu(F.conv2d(x, weight, padding=weight.shape[2] // 2))
        scaled.append(weight / x.std())
        x = x / x.std()
    return scaled


def without_relu(weights: list[Tensor], x: Tensor) -> list[Tensor]:
    scaled = []
    for weight in weights:
        output = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        scaled.append(weight / output.std())
        x = output / output.std()
    return scaled


def by_the_formula(weights: list[Tensor], x: Tensor) -> list[Tensor]:
    return [weight / weight.std() * (2 / weight[0].numel()) ** 0.5 for weight in weights]


def by_the_variance(weights: list[Tensor], x: Tensor) -> list[Tensor]:
    scaled = []
    for weight in weights:
        output = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        scaled.append(weight / output.var())
        x = F.relu(output / output.var())
    return scaled


def each_filter_alone(weights: list[Tensor], x: Tensor) -> list[Tensor]:
    scaled = []
    for weight in weights:
        output = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        deviation = output.std((0, 2, 3))
        scaled.append(weight / deviation[:, None, None, None])
        x = F.relu(output / deviation[:, None, None])
    return scaled


UNIT_VARIANCE = Question(
    name="a5.unit_variance",
    function="unit_variance",
    reference=unit_variance,
    parts=(stack_part("one layer", 2, 1), stack_part("five layers", 3, 5)),
    mistakes=(
        Mistake("each layer is measured on outputs of unscaled layers below it", measured_once, 2),
        Mistake("the deviation is measured behind the ReLU", measured_behind_the_relu),
        Mistake("there is no ReLU between the layers", without_relu, 2),
        Mistake("the weights follow a formula, and not the measured deviations", by_the_formula),
        Mistake("it is divided by the variance, and not by its root", by_the_variance),
        Mistake("each filter is divided by its own deviation; the layer has one number", each_filter_alone),
    ),
)

# ---------------------------------------------------------------- the distance in a network's eyes


def perceptual_distance(activations: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    gaps = [F.l1_loss(activations[name], targets[name], reduction="none").flatten(1).mean(1) for name in activations]
    return torch.stack(gaps).sum(0)


def perceptual_part(name: str, points: float, layers: tuple[str, ...], n: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        both = [{layer: maps(generator, n, *SHAPES[layer]) for layer in layers} for _ in range(2)]
        return {"activations": both[0], "targets": both[1]}

    return Part(name, points, inputs)


def squares_of_gaps(activations: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    gaps = [(a - targets[name]).square().flatten(1).mean(1) for name, a in activations.items()]
    return torch.stack(gaps).sum(0)


def root_of_squares(activations: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    gaps = [(a - targets[name]).square().flatten(1).mean(1).sqrt() for name, a in activations.items()]
    return torch.stack(gaps).sum(0)


def sums_of_gaps(activations: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    gaps = [(a - targets[name]).abs().flatten(1).sum(1) for name, a in activations.items()]
    return torch.stack(gaps).sum(0)


def one_for_all_images(activations: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    return torch.stack([(a - targets[name]).abs().mean() for name, a in activations.items()]).sum()


def all_layers_in_one(activations: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    return torch.cat([(a - targets[name]).abs().flatten(1) for name, a in activations.items()], 1).mean(1)


def mean_of_layers(activations: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    gaps = [(a - targets[name]).abs().flatten(1).mean(1) for name, a in activations.items()]
    return torch.stack(gaps).mean(0)


def last_layer_alone(activations: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    name = list(activations)[-1]
    return (activations[name] - targets[name]).abs().flatten(1).mean(1)


def positions_averaged(activations: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    gaps = [(a.mean((2, 3)) - targets[name].mean((2, 3))).abs().mean(1) for name, a in activations.items()]
    return torch.stack(gaps).sum(0)


PERCEPTUAL_DISTANCE = Question(
    name="a5.perceptual_distance",
    function="perceptual_distance",
    reference=perceptual_distance,
    parts=(
        perceptual_part("one layer", 2, ("relu1",), 2),
        perceptual_part("two layers of different sizes", 3, ("relu1", "relu2"), 3),
    ),
    mistakes=(
        Mistake("the gaps are squared, and not taken by their absolute value", squares_of_gaps),
        Mistake("the root of the mean square is taken", root_of_squares),
        Mistake("the gaps are summed, and not averaged: large layers count more", sums_of_gaps),
        Mistake("one number is returned, and not one for each image", one_for_all_images),
        Mistake("all layers are averaged as one: large layers count more", all_layers_in_one, 2),
        Mistake("the layers are averaged, and should be summed", mean_of_layers, 2),
        Mistake("only the last layer counts", last_layer_alone, 2),
        Mistake("the means over positions are compared, and positions no longer count", positions_averaged),
    ),
)

WRITTEN = (
    Written(
        "a5.forgets",
        5,
        "3 points: a permutation of the positions permutes the columns of F, and F P P^T F^T = F F^T. 2 points: why "
        "shuffled pixels are another texture all the same: a convolution sees neighbours, so the pixels' order shows "
        "in the activations, and only the order of the activations is forgotten.",
    ),
    Written(
        "a5.weight",
        5,
        "2 points: names shares with their intervals from the sweep, and says which differences the intervals bear. "
        "2 points: what the judge is (another network, same training world) and what it cannot say about looks. "
        "1 point: a reason why the shape goes, from the layers that hold it.",
    ),
    Written(
        "a5.untrained",
        5,
        "2 points: names both judges' numbers with intervals, and that the judges need not agree. 1 point: the Gram "
        "judge is a trained network of the same architecture, which favours it; six images are few. 2 points: without "
        "biases a ReLU network is homogeneous, a layer scaled by s has s^4 E_l, and w_l takes the factor back; the "
        "rescaling helps where weights are equal, and where numbers would fade away in deep layers.",
    ),
    Written(
        "a5.own",
        10,
        "3 points: a picture from the student's own photograph, by their own loop with VGG-19, and the settings that "
        "made it. 3 points: two other settings beside it, one thing changed at a time (style weight, layers, TV), and "
        "what each one did. 2 points: a number that supports a choice: an energy's share, or the roughness. 2 points: "
        "a weakness that the picture has, and what would mend it.",
    ),
)

ASSIGNMENT = Assignment(
    name="a5_texture_style",
    title="Texture, style, random weights",
    questions=(
        WINDOW_DISTANCES,
        GRAM_MATRIX,
        TEXTURE_ENERGY,
        GRAM_SLOPE,
        CONTENT_ENERGY,
        TOTAL_VARIATION,
        TRANSFER,
        KEEP_COLOUR,
        UNIT_VARIANCE,
        PERCEPTUAL_DISTANCE,
    ),
    written=WRITTEN,
    modules=("taps",),
)
