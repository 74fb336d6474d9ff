"""Assignment 4: inversion, DeepDream, caricature."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from course_lib import energy
from course_lib.grading.plain import Plain, net
from course_lib.grading.question import CS231N, Assignment, Mistake, Part, Question, Written
from course_lib.images import resize
from course_lib.taps import Taps

__all__ = ["ASSIGNMENT"]


def drawn(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def images(generator: Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


# ---------------------------------------------------------------- the distance of codes


def code_distance(a: Tensor, a0: Tensor) -> Tensor:
    each = [
        energy.distance({"": b})({"": one}, one)
        for one, b in zip(torch.split(a, 1), _one_each(a0, len(a)), strict=True)
    ]
    return torch.stack(each)


def _one_each(a0: Tensor, n: int) -> list[Tensor]:
    return list(torch.split(a0.expand(n, *a0.shape[1:]), 1))


def distance_part(name: str, points: float, targets: int, *shape: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        return {"a": drawn(generator, 3, *shape), "a0": drawn(generator, targets, *shape)}

    return Part(name, points, inputs)


def over_its_own_norm(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).flatten(1).square().sum(1) / a.flatten(1).square().sum(1)


def over_all_norms(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).flatten(1).square().sum(1) / a0.square().sum()


def not_squared(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).flatten(1).square().sum(1).sqrt() / a0.flatten(1).square().sum(1).sqrt()


def mean_square(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).flatten(1).square().mean(1)


def first_target(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0[:1]).flatten(1).square().sum(1) / a0[:1].square().sum()


def one_for_the_batch(a: Tensor, a0: Tensor) -> Tensor:
    return ((a - a0).flatten(1).square().sum(1) / a0.flatten(1).square().sum(1)).mean()


def squares_alone(a: Tensor, a0: Tensor) -> Tensor:
    return (a - a0).flatten(1).square().sum(1)


CODE_DISTANCE = Question(
    name="a4.code_distance",
    function="code_distance",
    reference=code_distance,
    parts=(
        distance_part("a target for each image", 3, 3, 4, 3, 2),
        distance_part("one target for all, a layer without spatial positions", 2, 1, 7),
    ),
    mistakes=(
        Mistake("it is divided by the norm of the changing code, and not of the target", over_its_own_norm),
        Mistake("it is divided by the norm of all targets together", over_all_norms, 2),
        Mistake("the norms are not squared", not_squared),
        Mistake("it is a mean square, not divided by the target's norm", mean_square),
        Mistake("the first target is used for every image", first_target, 2),
        Mistake("one number is returned, and not one for each image", one_for_the_batch),
        Mistake("it is not divided by the target's norm", squares_alone, seen=(CS231N,)),
    ),
)

# ---------------------------------------------------------------- the gradient of the total variation


def variation_slope(x: Tensor, beta: float) -> Tensor:
    y = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(energy.total_variation(beta)({}, y), y)
    return gradient


def variation_part(name: str, points: float, beta: float, *, flat: bool = False) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        x = images(generator, 2, 3, 6, 7)
        if flat:
            x[0, :, 2:5, 1:5] = 0.5
        return {"x": x, "beta": beta}

    return Part(name, points, inputs)


def always_squares(x: Tensor, beta: float) -> Tensor:
    across, down = F.pad(x.diff(dim=3), (0, 1)), F.pad(x.diff(dim=2), (0, 0, 0, 1))
    gradient = -(across + down)
    gradient[..., 1:] += across[..., :-1]
    gradient[..., 1:, :] += down[..., :-1, :]
    return 2 * gradient


def without_beta(x: Tensor, beta: float) -> Tensor:
    across, down = F.pad(x.diff(dim=3), (0, 1)), F.pad(x.diff(dim=2), (0, 0, 0, 1))
    s = across**2 + down**2
    power = torch.where(s > 0, torch.where(s > 0, s, 1) ** (beta / 2 - 1), 0)
    across, down = power * across, power * down
    gradient = -(across + down)
    gradient[..., 1:] += across[..., :-1]
    gradient[..., 1:, :] += down[..., :-1, :]
    return gradient


def downhill(x: Tensor, beta: float) -> Tensor:
    across, down = F.pad(x.diff(dim=3), (0, 1)), F.pad(x.diff(dim=2), (0, 0, 0, 1))
    s = across**2 + down**2
    power = beta * torch.where(s > 0, torch.where(s > 0, s, 1) ** (beta / 2 - 1), 0)
    across, down = power * across, power * down
    gradient = across + down
    gradient[..., 1:] -= across[..., :-1]
    gradient[..., 1:, :] -= down[..., :-1, :]
    return gradient


def half_of_each_difference(x: Tensor, beta: float) -> Tensor:
    across, down = F.pad(x.diff(dim=3), (0, 1)), F.pad(x.diff(dim=2), (0, 0, 0, 1))
    s = across**2 + down**2
    power = beta * torch.where(s > 0, torch.where(s > 0, s, 1) ** (beta / 2 - 1), 0)
    return -power * (across + down)


def whole_exponent(x: Tensor, beta: float) -> Tensor:
    across, down = F.pad(x.diff(dim=3), (0, 1)), F.pad(x.diff(dim=2), (0, 0, 0, 1))
    s = across**2 + down**2
    power = beta * torch.where(s > 0, torch.where(s > 0, s, 1) ** (beta - 2), 0)
    across, down = power * across, power * down
    gradient = -(across + down)
    gradient[..., 1:] += across[..., :-1]
    gradient[..., 1:, :] += down[..., :-1, :]
    return gradient


def round_the_border(x: Tensor, beta: float) -> Tensor:
    across, down = x.roll(-1, 3) - x, x.roll(-1, 2) - x
    s = across**2 + down**2
    power = beta * torch.where(s > 0, torch.where(s > 0, s, 1) ** (beta / 2 - 1), 0)
    across, down = power * across, power * down
    return across.roll(1, 3) - across + down.roll(1, 2) - down


def each_difference_alone(x: Tensor, beta: float) -> Tensor:
    across, down = F.pad(x.diff(dim=3), (0, 1)), F.pad(x.diff(dim=2), (0, 0, 0, 1))
    across, down = (beta * d.sign() * d.abs() ** (beta - 1) for d in (across, down))
    gradient = -(across + down)
    gradient[..., 1:] += across[..., :-1]
    gradient[..., 1:, :] += down[..., :-1, :]
    return gradient


VARIATION_SLOPE = Question(
    name="a4.variation_slope",
    function="variation_slope",
    reference=variation_slope,
    parts=(
        variation_part("beta = 2", 7, 2.0),
        variation_part("beta = 3", 4, 3.0),
        variation_part("beta = 1, with flat ground", 4, 1.0, flat=True),
    ),
    mistakes=(
        Mistake("beta is taken as 2, whatever it is", always_squares, 7),
        Mistake("the factor beta is missing", without_beta, 4),
        Mistake("the sign is reversed: this gradient leads to more variation", downhill),
        Mistake("each difference has two ends, and only one of them gets a gradient", half_of_each_difference),
        Mistake("the exponent is beta - 2, and not beta/2 - 1", whole_exponent, 7),
        Mistake("the image continues at the other border", round_the_border),
        Mistake("each of the two differences has a power of its own; they are summed before", each_difference_alone, 7),
    ),
    by_hand=True,
)

# ---------------------------------------------------------------- inversion, whole


def invert(net: nn.Module, layer: str, x: Tensor, z: Tensor, weight: float, steps: int, rate: float) -> Tensor:
    features = Taps(net, layer)
    target = {layer: features(x)[layer].detach()}
    image = z.detach().clone().requires_grad_()
    engine = torch.optim.Adam([image], lr=rate)
    for _ in range(steps):
        y = image.sigmoid()
        a = features(y)[layer]
        value = code_distance(a, target[layer]).sum() + weight * energy.total_variation(2.0)({}, y)
        engine.zero_grad()
        value.backward()
        engine.step()
    return image.detach().sigmoid()


def invert_part(name: str, points: float, *, n: int, weight: float, steps: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        return {
            "net": net(generator),
            "layer": "relu2",
            "x": images(generator, n, 3, 16, 16),
            "z": 0.5 * drawn(generator, n, 3, 16, 16),
            "weight": weight,
            "steps": steps,
            "rate": 0.1,
        }

    return Part(name, points, inputs)


def smoothness_left_out(
    net: nn.Module, layer: str, x: Tensor, z: Tensor, weight: float, steps: int, rate: float
) -> Tensor:
    taps = Taps(net, layer)
    a0 = taps(x)[layer].detach()
    w = z.detach().clone().requires_grad_()
    engine = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        y = w.sigmoid()
        seen = y.detach().requires_grad_()
        d = code_distance(taps(seen)[layer], a0).sum()
        (gradient,) = torch.autograd.grad(d, seen)
        engine.zero_grad()
        y.backward(gradient)
        engine.step()
    return w.detach().sigmoid()


def rough_wanted(net: nn.Module, layer: str, x: Tensor, z: Tensor, weight: float, steps: int, rate: float) -> Tensor:
    taps = Taps(net, layer)
    a0 = taps(x)[layer].detach()
    w = z.detach().clone().requires_grad_()
    engine = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        y = w.sigmoid()
        seen = y.detach().requires_grad_()
        d = code_distance(taps(seen)[layer], a0).sum()
        (gradient,) = torch.autograd.grad(d, seen)
        engine.zero_grad()
        y.backward(gradient - weight * variation_slope(y.detach(), 2.0))
        engine.step()
    return w.detach().sigmoid()


def pixels_not_sigmoid(
    net: nn.Module, layer: str, x: Tensor, z: Tensor, weight: float, steps: int, rate: float
) -> Tensor:
    taps = Taps(net, layer)
    a0 = taps(x)[layer].detach()
    w = z.detach().clone().requires_grad_()
    engine = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        y = w.sigmoid()
        seen = y.detach().requires_grad_()
        d = code_distance(taps(seen)[layer], a0).sum()
        (gradient,) = torch.autograd.grad(d, seen)
        engine.zero_grad()
        y.backward(gradient + weight * variation_slope(y.detach(), 2.0))
        engine.step()
    return w.detach()


def gradients_pile_up(
    net: nn.Module, layer: str, x: Tensor, z: Tensor, weight: float, steps: int, rate: float
) -> Tensor:
    taps = Taps(net, layer)
    a0 = taps(x)[layer].detach()
    w = z.detach().clone().requires_grad_()
    engine = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        y = w.sigmoid()
        seen = y.detach().requires_grad_()
        d = code_distance(taps(seen)[layer], a0).sum()
        (gradient,) = torch.autograd.grad(d, seen)
        y.backward(gradient + weight * variation_slope(y.detach(), 2.0))
        engine.step()
    return w.detach().sigmoid()


def away_from_the_code(
    net: nn.Module, layer: str, x: Tensor, z: Tensor, weight: float, steps: int, rate: float
) -> Tensor:
    taps = Taps(net, layer)
    a0 = taps(x)[layer].detach()
    w = z.detach().clone().requires_grad_()
    engine = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        y = w.sigmoid()
        seen = y.detach().requires_grad_()
        d = code_distance(taps(seen)[layer], a0).sum()
        (gradient,) = torch.autograd.grad(d, seen)
        engine.zero_grad()
        y.backward(weight * variation_slope(y.detach(), 2.0) - gradient)
        engine.step()
    return w.detach().sigmoid()


def plain_descent(net: nn.Module, layer: str, x: Tensor, z: Tensor, weight: float, steps: int, rate: float) -> Tensor:
    taps = Taps(net, layer)
    a0 = taps(x)[layer].detach()
    w = z.detach().clone().requires_grad_()
    engine = torch.optim.SGD([w], lr=rate)
    for _ in range(steps):
        y = w.sigmoid()
        seen = y.detach().requires_grad_()
        d = code_distance(taps(seen)[layer], a0).sum()
        (gradient,) = torch.autograd.grad(d, seen)
        engine.zero_grad()
        y.backward(gradient + weight * variation_slope(y.detach(), 2.0))
        engine.step()
    return w.detach().sigmoid()


def from_zero(net: nn.Module, layer: str, x: Tensor, z: Tensor, weight: float, steps: int, rate: float) -> Tensor:
    taps = Taps(net, layer)
    a0 = taps(x)[layer].detach()
    w = torch.zeros_like(z).requires_grad_()
    engine = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        y = w.sigmoid()
        seen = y.detach().requires_grad_()
        d = code_distance(taps(seen)[layer], a0).sum()
        (gradient,) = torch.autograd.grad(d, seen)
        engine.zero_grad()
        y.backward(gradient + weight * variation_slope(y.detach(), 2.0))
        engine.step()
    return w.detach().sigmoid()


def squares_of_pixels(
    net: nn.Module, layer: str, x: Tensor, z: Tensor, weight: float, steps: int, rate: float
) -> Tensor:
    taps = Taps(net, layer)
    a0 = taps(x)[layer].detach()
    w = z.detach().clone().requires_grad_()
    engine = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        y = w.sigmoid()
        loss = code_distance(taps(y)[layer], a0).sum() + weight * y.square().sum()
        engine.zero_grad()
        loss.backward()
        engine.step()
    return w.detach().sigmoid()


INVERT = Question(
    name="a4.invert",
    function="invert",
    reference=invert,
    parts=(
        invert_part("a step, no smoothness", 5, n=1, weight=0.0, steps=1),
        invert_part("several steps", 7, n=1, weight=0.0, steps=4),
        invert_part("with smoothness, a batch", 8, n=2, weight=0.05, steps=4),
    ),
    mistakes=(
        Mistake("the total variation is left out", smoothness_left_out, 12),
        Mistake("the total variation is raised, and not lowered: its sign is reversed", rough_wanted, 12),
        Mistake("z is returned, and not its sigmoid", pixels_not_sigmoid),
        Mistake("gradients pile up: they are not set to zero before each step", gradients_pile_up, 5),
        Mistake("the code moves away from its target", away_from_the_code),
        Mistake("the steps are those of plain gradient descent, and not of Adam", plain_descent),
        Mistake("the descent starts from mid grey, and not from z", from_zero),
        Mistake(
            "the squares of the pixels are lowered, and not the total variation", squares_of_pixels, 12, seen=(CS231N,)
        ),
    ),
    needs=("a4.code_distance", "a4.variation_slope"),
    seconds=20.0,
)

# ---------------------------------------------------------------- orientation bins


def orientation_bins(right: Tensor, down: Tensor, count: int) -> Tensor:
    centres = 2 * math.pi / count * torch.arange(count, dtype=right.dtype)[:, None, None]
    gap = (torch.atan2(down, right)[:, None] - centres).abs() % (2 * math.pi)  # (n, count, h, w)
    steps = torch.minimum(gap, 2 * math.pi - gap) * count / (2 * math.pi)
    return torch.hypot(right, down)[:, None] * (1 - steps).clamp(min=0)


def bins_part(name: str, points: float, count: int, *, flat: bool = False) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Among them one gradient between the last direction and the first."""
        right, down = drawn(generator, 2, 2, 5, 6)
        turn = torch.tensor(-math.pi / count)
        right[0, 0, 0], down[0, 0, 0] = turn.cos(), turn.sin()
        if flat:
            right[0, 1:3], down[0, 1:3] = 0, 0
        return {"right": right, "down": down, "count": count}

    return Part(name, points, inputs)


def all_to_the_nearest(right: Tensor, down: Tensor, count: int) -> Tensor:
    turns = torch.atan2(down, right) * count / (2 * torch.pi)
    nearest = turns.round().long() % count
    return F.one_hot(nearest, count).permute(0, 3, 1, 2) * torch.hypot(right, down)[:, None]


def without_direction(right: Tensor, down: Tensor, count: int) -> Tensor:
    turns = (torch.atan2(down, right) % torch.pi)[:, None] * count / torch.pi
    gap = (turns - torch.arange(count)[:, None, None]).abs()
    gap = torch.minimum(gap, count - gap)
    return torch.hypot(right, down)[:, None] * (1 - gap).clamp(min=0)


def circle_cut_open(right: Tensor, down: Tensor, count: int) -> Tensor:
    turns = (torch.atan2(down, right) % (2 * torch.pi))[:, None] * count / (2 * torch.pi)
    gap = (turns - torch.arange(count)[:, None, None]).abs()
    return torch.hypot(right, down)[:, None] * (1 - gap).clamp(min=0)


def only_the_shares(right: Tensor, down: Tensor, count: int) -> Tensor:
    turns = torch.atan2(down, right)[:, None] * count / (2 * torch.pi)
    gap = (turns - torch.arange(count)[:, None, None]).abs() % count
    gap = torch.minimum(gap, count - gap)
    return (1 - gap).clamp(min=0)


def always_eighteen(right: Tensor, down: Tensor, count: int) -> Tensor:
    turns = torch.atan2(down, right)[:, None] * 18 / (2 * torch.pi)
    gap = (turns - torch.arange(count)[:, None, None]).abs() % 18
    gap = torch.minimum(gap, 18 - gap)
    return torch.hypot(right, down)[:, None] * (1 - gap).clamp(min=0)


def axes_exchanged(right: Tensor, down: Tensor, count: int) -> Tensor:
    turns = torch.atan2(right, down)[:, None] * count / (2 * torch.pi)
    gap = (turns - torch.arange(count)[:, None, None]).abs() % count
    gap = torch.minimum(gap, count - gap)
    return torch.hypot(right, down)[:, None] * (1 - gap).clamp(min=0)


def negative_angles_lost(right: Tensor, down: Tensor, count: int) -> Tensor:
    turns = torch.atan2(down, right)[:, None] * count / (2 * torch.pi)
    gap = (turns - torch.arange(count)[:, None, None]).abs()
    return torch.hypot(right, down)[:, None] * (1 - gap).clamp(min=0)


def negative_gaps(right: Tensor, down: Tensor, count: int) -> Tensor:
    turns = torch.atan2(down, right)[:, None] * count / (2 * torch.pi)
    gap = (turns - torch.arange(count)[:, None, None]).abs()
    gap = torch.minimum(gap, count - gap)
    return torch.hypot(right, down)[:, None] * (1 - gap).clamp(min=0)


ORIENTATION_BINS = Question(
    name="a4.orientation_bins",
    function="orientation_bins",
    reference=orientation_bins,
    parts=(
        bins_part("18 directions", 5, 18),
        bins_part("8 directions", 3, 8),
        bins_part("positions without a gradient", 2, 18, flat=True),
    ),
    mistakes=(
        Mistake(
            "negative angles are not brought into the circle, so that K minus the gap can be negative", negative_gaps
        ),
        Mistake("negative angles are not brought into the circle: atan2 runs from -pi to pi", negative_angles_lost),
        Mistake("all goes to the nearest direction, and is not shared between two", all_to_the_nearest),
        Mistake("a gradient and its opposite are taken for one", without_direction),
        Mistake("the last direction is no neighbour of the first", circle_cut_open),
        Mistake("the shares are not multiplied by the gradient's length", only_the_shares),
        Mistake("the directions are 20 degrees apart, whatever their number", always_eighteen, 7),
        Mistake("right and down are exchanged in the angle", axes_exchanged),
    ),
)

# ---------------------------------------------------------------- a step of the dream


def dream_step(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().requires_grad_()
    a = Taps(net, layer)(x.roll(tuple(shift), (2, 3)))[layer]
    (g,) = torch.autograd.grad(a.square().sum() / 2, x)
    return (x.detach() + step * g / g.abs().mean((1, 2, 3), keepdim=True)).clamp(0, 1)


def dream_part(name: str, points: float, n: int, *, shifted: bool = False) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Images of falling contrast: the second has a smaller gradient than the first."""
        contrast = torch.tensor([1.0, 0.1, 0.4], dtype=torch.float64)[:n, None, None, None]
        x = 0.5 + contrast * (images(generator, n, 3, 16, 16) - 0.5)
        shift = (3, -5) if shifted else (0, 0)
        return {"net": net(generator), "layer": "relu2", "x": x, "step": 0.03, "shift": shift}

    return Part(name, points, inputs)


def more_of_the_sum(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().requires_grad_()
    a = x.roll(tuple(shift), (2, 3))
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a.sum(), x)
    return (x.detach() + step * g / g.abs().mean((1, 2, 3), keepdim=True)).clamp(0, 1)


def less_of_it(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().requires_grad_()
    a = x.roll(tuple(shift), (2, 3))
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a, x, a.detach())
    return (x.detach() - step * g / g.abs().mean((1, 2, 3), keepdim=True)).clamp(0, 1)


def not_shifted_back(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().roll(tuple(shift), (2, 3)).requires_grad_()
    a = x
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a, x, a.detach())
    return (x.detach() + step * g / g.abs().mean((1, 2, 3), keepdim=True)).clamp(0, 1)


def one_mean_for_the_batch(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().requires_grad_()
    a = x.roll(tuple(shift), (2, 3))
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a, x, a.detach())
    return (x.detach() + step * g / g.abs().mean()).clamp(0, 1)


def over_the_largest(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().requires_grad_()
    a = x.roll(tuple(shift), (2, 3))
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a, x, a.detach())
    return (x.detach() + step * g / g.abs().amax((1, 2, 3), keepdim=True)).clamp(0, 1)


def out_of_range(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().requires_grad_()
    a = x.roll(tuple(shift), (2, 3))
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a, x, a.detach())
    return x.detach() + step * g / g.abs().mean((1, 2, 3), keepdim=True)


def dream_of_signs(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().requires_grad_()
    a = x.roll(tuple(shift), (2, 3))
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a, x, a.detach())
    return (x.detach() + step * g.sign()).clamp(0, 1)


def shifted_on(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().roll(tuple(shift), (2, 3)).requires_grad_()
    a = x
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a, x, a.detach())
    dreamt = (x.detach() + step * g / g.abs().mean((1, 2, 3), keepdim=True)).clamp(0, 1)
    return dreamt.roll(tuple(shift), (2, 3))


def as_large_as_it_is(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().requires_grad_()
    a = x.roll(tuple(shift), (2, 3))
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a, x, a.detach())
    return (x.detach() + step * g).clamp(0, 1)


def over_the_length(net: nn.Module, layer: str, x: Tensor, step: float, shift: tuple[int, int]) -> Tensor:
    x = x.detach().requires_grad_()
    a = x.roll(tuple(shift), (2, 3))
    for name, module in net.named_children():
        a = module(a)
        if name == layer:
            break
    (g,) = torch.autograd.grad(a, x, a.detach())
    return (x.detach() + step * g / g.square().sum((1, 2, 3), keepdim=True).sqrt()).clamp(0, 1)


DREAM_STEP = Question(
    name="a4.dream_step",
    function="dream_step",
    reference=dream_step,
    parts=(
        dream_part("one image, no shift", 7, 1),
        dream_part("shifted", 4, 1, shifted=True),
        dream_part("a batch of images of different contrast", 4, 3),
    ),
    mistakes=(
        Mistake("ones were propagated back, and not the activations", more_of_the_sum),
        Mistake("the step leads downhill", less_of_it),
        Mistake("the image stays shifted", not_shifted_back, 11),
        Mistake("the mean of |g| is taken over the whole batch", one_mean_for_the_batch, 11),
        Mistake("the gradient is divided by its largest value, and not by its mean size", over_the_largest),
        Mistake("the result is not brought back to [0, 1]", out_of_range),
        Mistake("only the gradient's sign is kept, and not its size", dream_of_signs),
        Mistake("the image is shifted on, and not back", shifted_on, 11),
        Mistake("the gradient is not divided by its mean size", as_large_as_it_is, seen=(CS231N,)),
        Mistake("the gradient is divided by its length, and not by its mean size", over_the_length),
    ),
)

# ---------------------------------------------------------------- from octave to octave


def next_octave(x: Tensor, dreamt: Tensor, size: tuple[int, int]) -> Tensor:
    detail = dreamt - resize(x, dreamt.shape[2:])
    return (resize(x, size) + resize(detail, size)).clamp(0, 1)


def octave_part(name: str, points: float, small: tuple[int, int], size: tuple[int, int], contrast: float) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        x, added = images(generator, 1, 3, 16, 20), images(generator, 1, 3, *small)
        x = 0.5 + contrast * (x - 0.5)
        dreamt = (resize(x, small) + contrast * (added - 0.5)).clamp(0, 1)
        return {"x": x, "dreamt": dreamt, "size": size}

    return Part(name, points, inputs)


def dream_enlarged(x: Tensor, dreamt: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(dreamt, tuple(size), mode="bilinear", antialias=True).clamp(0, 1)


def dream_added_whole(x: Tensor, dreamt: Tensor, size: tuple[int, int]) -> Tensor:
    base, dream = (F.interpolate(y, tuple(size), mode="bilinear", antialias=True) for y in (x, dreamt))
    return (base + dream).clamp(0, 1)


def beyond_the_range(x: Tensor, dreamt: Tensor, size: tuple[int, int]) -> Tensor:
    detail = dreamt - F.interpolate(x, dreamt.shape[2:], mode="bilinear", antialias=True)
    base, detail = (F.interpolate(y, tuple(size), mode="bilinear", antialias=True) for y in (x, detail))
    return base + detail


def always_square(x: Tensor, dreamt: Tensor, size: tuple[int, int]) -> Tensor:
    detail = dreamt - F.interpolate(x, dreamt.shape[2:], mode="bilinear", antialias=True)
    side = (size[0], size[0])
    base, detail = (F.interpolate(y, side, mode="bilinear", antialias=True) for y in (x, detail))
    return (base + detail).clamp(0, 1)


def detail_taken_away(x: Tensor, dreamt: Tensor, size: tuple[int, int]) -> Tensor:
    detail = F.interpolate(x, dreamt.shape[2:], mode="bilinear", antialias=True) - dreamt
    base, detail = (F.interpolate(y, tuple(size), mode="bilinear", antialias=True) for y in (x, detail))
    return (base + detail).clamp(0, 1)


NEXT_OCTAVE = Question(
    name="a4.next_octave",
    function="next_octave",
    reference=next_octave,
    parts=(
        octave_part("an image of low contrast, square", 3, (8, 8), (12, 12), 0.3),
        octave_part("an image of full contrast, not square", 2, (8, 10), (12, 15), 1.0),
    ),
    mistakes=(
        Mistake("the small dream is enlarged, and the photograph's own detail is lost", dream_enlarged),
        Mistake("the whole dream is added, and not what it has added", dream_added_whole),
        Mistake("the result is not brought back to [0, 1]", beyond_the_range, 3),
        Mistake("the next size is taken as a square", always_square, 3),
        Mistake("what the dream has added is taken away", detail_taken_away),
    ),
)

# ---------------------------------------------------------------- caricature


def resemblance(a: Tensor, a0: Tensor) -> Tensor:
    noticed = a0.clamp(min=0).flatten(1)
    return (a.flatten(1) * noticed).sum(1) / noticed.square().sum(1)


def resemblance_part(name: str, points: float, rectified: bool, *shape: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        a, a0 = drawn(generator, 2, 2, *shape)
        return {"a": a.relu(), "a0": a0.relu()} if rectified else {"a": a, "a0": a0}

    return Part(name, points, inputs)


def not_rectified(a: Tensor, a0: Tensor) -> Tensor:
    return (a * a0).flatten(1).sum(1) / a0.flatten(1).square().sum(1)


def both_rectified(a: Tensor, a0: Tensor) -> Tensor:
    noticed = a0.clamp(min=0).flatten(1)
    return (a.clamp(min=0).flatten(1) * noticed).sum(1) / noticed.square().sum(1)


def cosine(a: Tensor, a0: Tensor) -> Tensor:
    return F.cosine_similarity(a.flatten(1), a0.clamp(min=0).flatten(1))


def once_the_norm(a: Tensor, a0: Tensor) -> Tensor:
    noticed = a0.clamp(min=0).flatten(1)
    return (a.flatten(1) * noticed).sum(1) / noticed.square().sum(1).sqrt()


def over_the_norm_of_a(a: Tensor, a0: Tensor) -> Tensor:
    noticed = a0.clamp(min=0).flatten(1)
    return (a.flatten(1) * noticed).sum(1) / a.flatten(1).square().sum(1)


RESEMBLANCE = Question(
    name="a4.resemblance",
    function="resemblance",
    reference=resemblance,
    parts=(
        resemblance_part("behind a ReLU", 2, True, 5, 3, 4),
        resemblance_part("before the ReLU", 2, False, 5, 3, 4),
        resemblance_part("a layer without spatial positions", 1, False, 11),
    ),
    mistakes=(
        Mistake("negative values of the code a0 are kept", not_rectified, 2),
        Mistake("the changing code is rectified, too", both_rectified, 2),
        Mistake("it is a cosine: no image can have three times as much of it", cosine),
        Mistake("the norm is not squared, so that it is not 1 for a = a0", once_the_norm),
        Mistake("it is divided by the norm of the changing code", over_the_norm_of_a),
    ),
)

WRITTEN = (
    Written(
        "a4.square",
        5,
        "2 points: the chain rule, J^T f is the gradient of sum f^2 / 2. 2 points: ones are the gradient of sum f, "
        "which raises all units alike, also those that are off. 1 point: how the image differs, in a figure or number.",
    ),
    Written(
        "a4.forgotten",
        10,
        "4 points: names what each layer has lost, with numbers and intervals of the table. 3 points: says that a low "
        "code error says nothing about the image, and which column shows it. 3 points: a limit of the measurement "
        "(few scenes, a related judge, a regulariser whose weight rises with the layer), and the guess at the top.",
    ),
    Written(
        "a4.own",
        10,
        "3 points: a dream, a caricature or a pre-image of the student's own photograph, by their own functions, and "
        "the settings that made it. 3 points: two other settings beside it, one thing changed at a time, and what each "
        "one did. 2 points: a number that supports the choice. 2 points: a weakness of the picture, and what would "
        "mend it.",
    ),
)

ASSIGNMENT = Assignment(
    name="a4_preimages",
    title="Inversion, DeepDream, caricature",
    questions=(CODE_DISTANCE, VARIATION_SLOPE, INVERT, ORIENTATION_BINS, DREAM_STEP, NEXT_OCTAVE, RESEMBLANCE),
    written=WRITTEN,
    modules=("taps",),
)
