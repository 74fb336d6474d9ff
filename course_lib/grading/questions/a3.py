"""Assignment 3: gradient ascent and adversarial examples."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from course_lib import adversarial, measure
from course_lib.grading.plain import Net, Plain, net
from course_lib.grading.question import CS231N, EECS498, Assignment, Mistake, Part, Question, Written
from course_lib.optimizers import steepest

__all__ = ["ASSIGNMENT"]

CLASSES = 5


def images(generator: Generator, n: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Images of 16 x 16 pixels with values between low and high."""
    return low + (high - low) * torch.rand(n, 3, 16, 16, generator=generator, dtype=torch.float64)


def labels(generator: Generator, n: int) -> Tensor:
    """Labels of which no two neighbours are equal, so that one image's label never serves for the next."""
    return (torch.randint(CLASSES, (1,), generator=generator) + torch.arange(n)) % CLASSES


# ---------------------------------------------------------------- one step of gradient ascent


def step(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    return (x + length * steepest(slope - 2 * decay * (x - 0.5), "l2")).clamp(0, 1)


def step_part(
    name: str, points: float, *, lengths: tuple[int, ...], length: float, decay: float, low: float, high: float
) -> Part:
    n = len(lengths)

    def inputs(generator: Generator) -> dict[str, Plain]:
        """Gradients of very different lengths, one for each image."""
        gradient = torch.randn(n, 3, 16, 16, generator=generator, dtype=torch.float64)
        gradient = gradient * torch.tensor(lengths).view(n, 1, 1, 1)
        return {"x": images(generator, n, low, high), "slope": gradient, "length": length, "decay": decay}

    return Part(name, points, inputs)


def downhill(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * (x - 0.5)
    return (x - length * F.normalize(climb.flatten(1)).view_as(climb)).clamp(0, 1)


def as_long_as_the_gradient(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    return (x + length * (slope - 2 * decay * (x - 0.5))).clamp(0, 1)


def over_the_largest(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * (x - 0.5)
    return (x + length * climb / climb.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)).clamp(0, 1)


def towards_black(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * x
    return (x + length * F.normalize(climb.flatten(1)).view_as(climb)).clamp(0, 1)


def without_the_two(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - decay * (x - 0.5)
    return (x + length * F.normalize(climb.flatten(1)).view_as(climb)).clamp(0, 1)


def one_length_for_the_batch(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * (x - 0.5)
    return (x + length * climb / climb.square().sum().sqrt()).clamp(0, 1)


def out_of_the_range(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * (x - 0.5)
    return x + length * F.normalize(climb.flatten(1)).view_as(climb)


def away_from_grey(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope + 2 * decay * (x - 0.5)
    return (x + length * F.normalize(climb.flatten(1)).view_as(climb)).clamp(0, 1)


def each_pixel_alone(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * (x - 0.5)
    return (x + length * F.normalize(climb)).clamp(0, 1)


def signs_alone(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    return (x + length * (slope - 2 * decay * (x - 0.5)).sign()).clamp(0, 1)


def over_the_squared_length(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * (x - 0.5)
    return (x + length * climb / climb.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-12)).clamp(0, 1)


def over_the_sum(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * (x - 0.5)
    return (x + length * climb / (climb.sum((1, 2, 3), keepdim=True) + 1e-12)).clamp(0, 1)


def each_colour_alone(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * (x - 0.5)
    return (x + length * climb / climb.square().sum((2, 3), keepdim=True).sqrt().clamp(min=1e-12)).clamp(0, 1)


def decay_of_the_length(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    off = x - 0.5
    climb = slope - decay * off / off.square().sum((1, 2, 3), keepdim=True).sqrt()
    return (x + length * F.normalize(climb.flatten(1)).view_as(climb)).clamp(0, 1)


def decay_beside_the_direction(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    direction = F.normalize(slope.flatten(1)).view_as(slope)
    return (x + length * (direction - 2 * decay * (x - 0.5))).clamp(0, 1)


def length_twice(x: Tensor, slope: Tensor, length: float, decay: float) -> Tensor:
    climb = slope - 2 * decay * (x - 0.5)
    return (x + length**2 * F.normalize(climb.flatten(1)).view_as(climb)).clamp(0, 1)


STEP = Question(
    name="a3.step",
    function="step",
    reference=step,
    parts=(
        step_part("without decay", 2, lengths=(1,), length=1.0, decay=0.0, low=0.3, high=0.7),
        step_part("with decay", 1, lengths=(1,), length=1.0, decay=2.0, low=0.3, high=0.9),
        step_part("a batch, near black and white", 1, lengths=(1, 4, 16), length=6.0, decay=2.0, low=0.0, high=1.0),
        step_part("a gradient of zero, no step", 1, lengths=(1, 0), length=1.0, decay=0.0, low=0.3, high=0.7),
    ),
    mistakes=(
        Mistake("the step goes downhill", downhill, seen=(CS231N,)),
        Mistake("the direction is not divided by its length", as_long_as_the_gradient, seen=(CS231N, EECS498)),
        Mistake("the direction is divided by its largest value, and not by its length", over_the_largest),
        Mistake(
            "the decay pulls towards black (0), and not towards mid grey (0.5)",
            towards_black,
            3,
            seen=(CS231N, EECS498),
        ),
        Mistake("the derivative of the square has lost its factor 2", without_the_two, 3, seen=(CS231N,)),
        Mistake("the whole batch shares one length; each image has its own", one_length_for_the_batch, 4),
        Mistake("the result is not clipped to [0, 1]", out_of_the_range, 4),
        Mistake("the decay pushes away from mid grey: its sign is reversed", away_from_grey, 3, seen=(CS231N,)),
        Mistake(
            "the colours of each pixel were brought to length one, and not the whole image (F.normalize: dim=1)",
            each_pixel_alone,
        ),
        Mistake("only the signs of the direction are kept", signs_alone),
        Mistake(
            "the direction is divided by the square of its length", over_the_squared_length, seen=(CS231N, EECS498)
        ),
        Mistake(
            "the direction is divided by the sum of its values, and not by its length", over_the_sum, seen=(CS231N,)
        ),
        Mistake("each colour was brought to length one, and not the whole image", each_colour_alone, seen=(EECS498,)),
        Mistake(
            "the length of x - 1/2 was differentiated for the decay, and not its square",
            decay_of_the_length,
            3,
            seen=(CS231N, EECS498),
        ),
        Mistake(
            "the decay is added to a gradient that has length one already",
            decay_beside_the_direction,
            3,
            seen=(EECS498,),
        ),
        Mistake("alpha multiplies the step twice", length_twice, 4, seen=(CS231N,)),
    ),
    tolerance=1e-4,
)

# ---------------------------------------------------------------- the gradient of a jittered image


def jittered_slope(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for down, right in shifts.tolist():
        moved = x.detach().roll((down, right), (2, 3)).requires_grad_()
        (gradient,) = torch.autograd.grad(net(moved).gather(1, label[:, None]).sum(), moved)
        total += gradient.roll((-down, -right), (2, 3))
    return total / len(shifts)


def jitter_part(name: str, points: float, n: int, shifts: int, reach: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Shifts whose two numbers differ, are not zero (unless reach is), and are not half an image."""
        down = torch.randint(1, 4, (shifts,), generator=generator)
        right = -torch.randint(4, 7, (shifts,), generator=generator)
        return {
            "net": net(generator, classes=CLASSES),
            "x": images(generator, n),
            "label": labels(generator, n),
            "shifts": torch.stack([down, right], 1) * (reach > 0),
        }

    return Part(name, points, inputs)


def not_rolled_back(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for down, right in shifts.tolist():
        moved = x.roll((down, right), (2, 3)).requires_grad_()
        total += torch.autograd.grad(net(moved).gather(1, label[:, None]).sum(), moved)[0]
    return total / len(shifts)


def right_before_down(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    scores = [net(x.roll((a, b), (3, 2))).gather(1, label[:, None]).sum() for a, b in shifts.tolist()]
    return torch.autograd.grad(torch.stack(scores).sum(), x)[0] / len(shifts)


def shifts_summed(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    scores = [net(x.roll((a, b), (2, 3))).gather(1, label[:, None]).sum() for a, b in shifts.tolist()]
    return torch.autograd.grad(torch.stack(scores).sum(), x)[0]


def only_the_last_shift(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    for a, b in shifts.tolist():
        score = net(x.roll((a, b), (2, 3))).gather(1, label[:, None]).sum()
        gradient = torch.autograd.grad(score, x)[0]
    return gradient


def each_on_top_of_the_last(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    moved, total = x, torch.zeros_like(x)
    for a, b in shifts.tolist():
        moved = moved.roll((a, b), (2, 3))
        score = net(moved).gather(1, label[:, None]).sum()
        total += torch.autograd.grad(score, x, retain_graph=True)[0]
    return total / len(shifts)


def of_the_probability(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    shown = [net(x.roll((a, b), (2, 3))).softmax(1).gather(1, label[:, None]).sum() for a, b in shifts.tolist()]
    return torch.autograd.grad(torch.stack(shown).sum(), x)[0] / len(shifts)


def of_the_loss(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    shown = [F.cross_entropy(net(x.roll((a, b), (2, 3))), label, reduction="sum") for a, b in shifts.tolist()]
    return torch.autograd.grad(torch.stack(shown).sum(), x)[0] / len(shifts)


def one_label_for_all(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    scores = [net(x.roll((a, b), (2, 3)))[:, label[0]].sum() for a, b in shifts.tolist()]
    return torch.autograd.grad(torch.stack(scores).sum(), x)[0] / len(shifts)


def rolled_on(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for down, right in shifts.tolist():
        moved = x.roll((down, right), (2, 3)).requires_grad_()
        (gradient,) = torch.autograd.grad(net(moved).gather(1, label[:, None]).sum(), moved)
        total += gradient.roll((down, right), (2, 3))
    return total / len(shifts)


def of_the_log_probability(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    shown = [net(x.roll((a, b), (2, 3))).log_softmax(1).gather(1, label[:, None]).sum() for a, b in shifts.tolist()]
    return torch.autograd.grad(torch.stack(shown).sum(), x)[0] / len(shifts)


def scores_sent_back(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    halves = [net(x.roll((a, b), (2, 3))).gather(1, label[:, None]).square().sum() / 2 for a, b in shifts.tolist()]
    return torch.autograd.grad(torch.stack(halves).sum(), x)[0] / len(shifts)


def averaged_over_the_images(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    scores = [net(x.roll((a, b), (2, 3))).gather(1, label[:, None]).mean() for a, b in shifts.tolist()]
    return torch.autograd.grad(torch.stack(scores).mean(), x)[0]


def every_label_for_every_image(net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    scores = [net(x.roll((a, b), (2, 3)))[:, label].sum() for a, b in shifts.tolist()]
    return torch.autograd.grad(torch.stack(scores).sum(), x)[0] / len(shifts)


JITTERED_SLOPE = Question(
    name="a3.jittered_slope",
    function="jittered_slope",
    reference=jittered_slope,
    parts=(
        jitter_part("no shift", 2, 1, 1, 0),
        jitter_part("one shift", 4, 1, 1, 6),
        jitter_part("several shifts of a batch", 4, 3, 3, 6),
    ),
    mistakes=(
        Mistake("the gradient is not rolled back to where the pixels are", not_rolled_back, 2),
        Mistake("down and right are exchanged", right_before_down, 2),
        Mistake("the gradients are summed over the shifts, and not averaged", shifts_summed, 6),
        Mistake("only the last shift counts", only_the_last_shift, 6),
        Mistake("each shift starts where the last one ended, and not at x", each_on_top_of_the_last, 6),
        Mistake("the probability was differentiated, and not the score before the softmax", of_the_probability),
        Mistake("the cross-entropy was differentiated, and not the score", of_the_loss, seen=(CS231N,)),
        Mistake("the first image's label was used for every image", one_label_for_all, 6),
        Mistake("the gradient is rolled on by the same shift, and not back", rolled_on, 2),
        Mistake(
            "the logarithm of the probability was differentiated, and not the score",
            of_the_log_probability,
            seen=(EECS498,),
        ),
        Mistake(
            "each image's gradient is multiplied by its score: the scores were sent back",
            scores_sent_back,
            seen=(CS231N,),
        ),
        Mistake(
            "the scores are averaged over the images, too; each has its own",
            averaged_over_the_images,
            6,
            seen=(EECS498,),
        ),
        Mistake(
            "net(...)[:, label] takes every image's label for every image; each has its own",
            every_label_for_every_image,
            6,
            seen=(CS231N, EECS498),
        ),
    ),
)

# ---------------------------------------------------------------- scaling by frequency


def smooth(slope: Tensor, power: float) -> Tensor:
    height, width = slope.shape[2:]
    frequency = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.fftfreq(width) ** 2).sqrt().to(slope)
    scale = frequency.clamp(min=1 / max(height, width)) ** power
    smoothed: Tensor = torch.fft.ifft2(torch.fft.fft2(slope) / scale).real
    return smoothed


def smooth_part(name: str, points: float, height: int, width: int, power: float) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        gradient = torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)
        return {"slope": 0.1 + gradient, "power": power}  # the mean, frequency 0, counts, and hides no sign

    return Part(name, points, inputs)


def fine_before_coarse(slope: Tensor, power: float) -> Tensor:
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w) ** 2).sqrt().clamp(min=1 / max(h, w))
    smoothed: Tensor = torch.fft.irfft2(torch.fft.rfft2(slope) * f**power, s=(h, w))
    return smoothed


def frequencies_added(slope: Tensor, power: float) -> Tensor:
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h).abs()[:, None] + torch.fft.rfftfreq(w)).clamp(min=1 / max(h, w))
    smoothed: Tensor = torch.fft.irfft2(torch.fft.rfft2(slope) / f**power, s=(h, w))
    return smoothed


def root_forgotten(slope: Tensor, power: float) -> Tensor:
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w) ** 2).clamp(min=1 / max(h, w))
    smoothed: Tensor = torch.fft.irfft2(torch.fft.rfft2(slope) / f**power, s=(h, w))
    return smoothed


def mean_taken_out(slope: Tensor, power: float) -> Tensor:
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w) ** 2).sqrt()
    gain = torch.where(f > 0, f.clamp(min=1e-9) ** -power, 0.0)
    smoothed: Tensor = torch.fft.irfft2(torch.fft.rfft2(slope) * gain, s=(h, w))
    return smoothed


def always_once(slope: Tensor, power: float) -> Tensor:
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w) ** 2).sqrt().clamp(min=1 / max(h, w))
    smoothed: Tensor = torch.fft.irfft2(torch.fft.rfft2(slope) / f, s=(h, w))
    return smoothed


def even_width(slope: Tensor, power: float) -> Tensor:
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w) ** 2).sqrt().clamp(min=1 / max(h, w))
    smoothed: Tensor = torch.fft.irfft2(torch.fft.rfft2(slope) / f**power)
    return smoothed


def floor_of_the_height(slope: Tensor, power: float) -> Tensor:
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w) ** 2).sqrt().clamp(min=1 / h)
    smoothed: Tensor = torch.fft.irfft2(torch.fft.rfft2(slope) / f**power, s=(h, w))
    return smoothed


def frequencies_shifted(slope: Tensor, power: float) -> Tensor:
    h, w = slope.shape[2:]
    down, right = torch.fft.fftshift(torch.fft.fftfreq(h)), torch.fft.fftshift(torch.fft.fftfreq(w))
    f = (down[:, None] ** 2 + right**2).sqrt().clamp(min=1 / max(h, w))
    smoothed: Tensor = torch.fft.ifft2(torch.fft.fft2(slope) / f**power).real
    return smoothed


def absolute_value(slope: Tensor, power: float) -> Tensor:
    h, w = slope.shape[2:]
    f = (torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.fftfreq(w) ** 2).sqrt().clamp(min=1 / max(h, w))
    smoothed: Tensor = torch.fft.ifft2(torch.fft.fft2(slope) / f**power).abs()
    return smoothed


SMOOTH = Question(
    name="a3.smooth",
    function="smooth",
    reference=smooth,
    parts=(
        smooth_part("power 0, which changes nothing", 1, 16, 16, 0.0),
        smooth_part("a square image", 2, 16, 16, 2.0),
        smooth_part("wider than high, and odd", 2, 12, 17, 1.0),
    ),
    mistakes=(
        Mistake("frequencies are multiplied by f^power, and not divided", fine_before_coarse, 1),
        Mistake("the two frequencies are added; f is the root of the sum of their squares", frequencies_added, 1),
        Mistake("f^2 stands where f should: the root is missing", root_forgotten, 1),
        Mistake("frequency 0 is set to zero, and not raised to the smallest frequency", mean_taken_out),
        Mistake("the division is by f, whatever the power", always_once, 2),
        Mistake("the inverse transform was not told the width, and odd widths lose a column", even_width, 3),
        Mistake("the smallest frequency is 1 / height, and not 1 / the longer side", floor_of_the_height, 3),
        Mistake("the frequencies are in the order of fftshift, and the transform is not", frequencies_shifted, 1),
        Mistake("the absolute value was taken at the end, and not the real part", absolute_value),
    ),
)

# ---------------------------------------------------------------- the whole climb


def ascend(
    net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor, length: float, decay: float, power: float
) -> Tensor:
    for k, some in enumerate(shifts):
        gradient = smooth(jittered_slope(net, x, label, some), power)
        x = step(x, gradient, length * (1 - k / len(shifts)), decay)
    return x


def ascend_part(
    name: str, points: float, *, n: int, steps: int, reach: int, length: float, decay: float, power: float
) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Shifts of up to `reach` pixels, none of them zero where it is above 0, two of them for a step."""
        drawn = torch.randint(1, reach + 1, (steps, 2, 2), generator=generator) if reach else torch.zeros(steps, 1, 2)
        return {
            "net": net(generator, classes=CLASSES),
            "x": images(generator, n, 0.35, 0.65),
            "label": labels(generator, n),
            "shifts": drawn.long(),
            "length": length,
            "decay": decay,
            "power": power,
        }

    return Part(name, points, inputs)


def all_steps_alike(
    net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor, length: float, decay: float, power: float
) -> Tensor:
    for some in shifts:
        x = step(x, smooth(jittered_slope(net, x, label, some), power), length, decay)
    return x


def gradient_of_the_first_image(
    net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor, length: float, decay: float, power: float
) -> Tensor:
    initial = x
    for k, some in enumerate(shifts):
        gradient = smooth(jittered_slope(net, initial, label, some), power)
        x = step(x, gradient, length * (1 - k / len(shifts)), decay)
    return x


def always_from_the_first(
    net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor, length: float, decay: float, power: float
) -> Tensor:
    moved = x
    for k, some in enumerate(shifts):
        gradient = smooth(jittered_slope(net, moved, label, some), power)
        moved = step(x, gradient, length * (1 - k / len(shifts)), decay)
    return moved


def last_step_of_zero(
    net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor, length: float, decay: float, power: float
) -> Tensor:
    for k, some in enumerate(shifts):
        gradient = smooth(jittered_slope(net, x, label, some), power)
        x = step(x, gradient, length * (1 - k / max(len(shifts) - 1, 1)), decay)
    return x


def first_shifts_always(
    net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor, length: float, decay: float, power: float
) -> Tensor:
    for k in range(len(shifts)):
        gradient = smooth(jittered_slope(net, x, label, shifts[0]), power)
        x = step(x, gradient, length * (1 - k / len(shifts)), decay)
    return x


def never_smoothed(
    net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor, length: float, decay: float, power: float
) -> Tensor:
    for k, some in enumerate(shifts):
        x = step(x, jittered_slope(net, x, label, some), length * (1 - k / len(shifts)), decay)
    return x


def decay_left_out(
    net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor, length: float, decay: float, power: float
) -> Tensor:
    for k, some in enumerate(shifts):
        gradient = smooth(jittered_slope(net, x, label, some), power)
        x = step(x, gradient, length * (1 - k / len(shifts)), 0.0)
    return x


def down_the_score(
    net: nn.Module, x: Tensor, label: Tensor, shifts: Tensor, length: float, decay: float, power: float
) -> Tensor:
    for k, some in enumerate(shifts):
        gradient = smooth(jittered_slope(net, x, label, some), power)
        x = step(x, -gradient, length * (1 - k / len(shifts)), decay)
    return x


ASCEND = Question(
    name="a3.ascend",
    function="ascend",
    reference=ascend,
    parts=(
        ascend_part("a single step", 4, n=1, steps=1, reach=0, length=0.5, decay=0.0, power=0.0),
        ascend_part("five steps, each shorter", 6, n=1, steps=5, reach=0, length=0.5, decay=0.0, power=0.0),
        ascend_part("five shifted, smoothed steps", 5, n=1, steps=5, reach=6, length=0.5, decay=0.0, power=1.0),
        ascend_part("a batch with decay", 5, n=2, steps=4, reach=6, length=0.5, decay=3.0, power=0.0),
    ),
    mistakes=(
        Mistake("all steps have one length, and they should shrink", all_steps_alike, 4),
        Mistake("every step takes the gradient at the first image", gradient_of_the_first_image, 4),
        Mistake("each step starts from the first image, and not where the last one ended", always_from_the_first, 4),
        Mistake("the last step has length zero: k runs to m - 1, and the steps are divided by m", last_step_of_zero, 4),
        Mistake("every step takes the first step's shifts", first_shifts_always, 10),
        Mistake("the gradient is never smoothed", never_smoothed, 15),
        Mistake("the decay is left out", decay_left_out, 15),
        Mistake("the steps go down the score", down_the_score),
    ),
    needs=("a3.step", "a3.jittered_slope", "a3.smooth"),
)

# ---------------------------------------------------------------- the climb in codes


def code_ascent(
    net: nn.Module,
    generator: nn.Module,
    code: Tensor,
    label: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    length: float,
) -> Tensor:
    for _ in range(steps):
        code = code.detach().requires_grad_()
        score = net(generator(code)).gather(1, label[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, code)
        code = (code + length * steepest(gradient, "l2")).clamp(low, high)
    return code.detach()


def codes_part(name: str, points: float, *, n: int, steps: int, room: float) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """A generator of one layer; ranges that differ from unit to unit, with some `room` around the code."""
        weight = torch.randn(3 * 16 * 16, 6, generator=generator, dtype=torch.float64)
        layers = (
            ("fc", "linear", weight, torch.zeros(len(weight), dtype=torch.float64)),
            ("image", "unflatten", 3, 16, 16),
            ("range", "sigmoid"),
        )
        code = torch.rand(n, 6, generator=generator, dtype=torch.float64)
        drawn = room * (0.2 + torch.rand(2, 6, generator=generator, dtype=torch.float64))
        return {
            "net": net(generator, classes=CLASSES),
            "generator": Net(layers),
            "code": code,
            "label": labels(generator, n),
            "low": code.amin(0) - drawn[0],
            "high": code.amax(0) + drawn[1],
            "steps": steps,
            "length": 0.4,
        }

    return Part(name, points, inputs)


def down_in_codes(
    net: nn.Module,
    generator: nn.Module,
    code: Tensor,
    label: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    length: float,
) -> Tensor:
    for _ in range(steps):
        code = code.detach().requires_grad_()
        (g,) = torch.autograd.grad(net(generator(code)).gather(1, label[:, None]).sum(), code)
        code = (code - length * F.normalize(g)).clamp(low, high)
    return code.detach()


def out_of_their_range(
    net: nn.Module,
    generator: nn.Module,
    code: Tensor,
    label: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    length: float,
) -> Tensor:
    for _ in range(steps):
        code = code.detach().requires_grad_()
        (g,) = torch.autograd.grad(net(generator(code)).gather(1, label[:, None]).sum(), code)
        code = code + length * F.normalize(g)
    return code.detach()


def brought_back_at_the_end(
    net: nn.Module,
    generator: nn.Module,
    code: Tensor,
    label: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    length: float,
) -> Tensor:
    for _ in range(steps):
        code = code.detach().requires_grad_()
        (g,) = torch.autograd.grad(net(generator(code)).gather(1, label[:, None]).sum(), code)
        code = code + length * F.normalize(g)
    return code.detach().clamp(low, high)


def one_range_for_all_units(
    net: nn.Module,
    generator: nn.Module,
    code: Tensor,
    label: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    length: float,
) -> Tensor:
    for _ in range(steps):
        code = code.detach().requires_grad_()
        (g,) = torch.autograd.grad(net(generator(code)).gather(1, label[:, None]).sum(), code)
        code = (code + length * F.normalize(g)).clamp(low.min(), high.max())
    return code.detach()


def length_of_the_gradient(
    net: nn.Module,
    generator: nn.Module,
    code: Tensor,
    label: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    length: float,
) -> Tensor:
    for _ in range(steps):
        code = code.detach().requires_grad_()
        (g,) = torch.autograd.grad(net(generator(code)).gather(1, label[:, None]).sum(), code)
        code = (code + length * g).clamp(low, high)
    return code.detach()


def one_length_for_all_codes(
    net: nn.Module,
    generator: nn.Module,
    code: Tensor,
    label: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    length: float,
) -> Tensor:
    for _ in range(steps):
        code = code.detach().requires_grad_()
        (g,) = torch.autograd.grad(net(generator(code)).gather(1, label[:, None]).sum(), code)
        code = (code + length * g / g.square().sum().sqrt()).clamp(low, high)
    return code.detach()


def first_gradient_in_codes(
    net: nn.Module,
    generator: nn.Module,
    code: Tensor,
    label: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    length: float,
) -> Tensor:
    code = code.detach().requires_grad_()
    (g,) = torch.autograd.grad(net(generator(code)).gather(1, label[:, None]).sum(), code)
    for _ in range(steps):
        code = (code + length * F.normalize(g)).clamp(low, high)
    return code.detach()


CODE_ASCENT = Question(
    name="a3.code_ascent",
    function="code_ascent",
    reference=code_ascent,
    parts=(
        codes_part("a step that stays in the range", 2, n=1, steps=1, room=9.0),
        codes_part("steps of a batch that leave it", 3, n=3, steps=6, room=0.3),
    ),
    mistakes=(
        Mistake("the steps go down the score", down_in_codes),
        Mistake("the codes are not brought back to their range", out_of_their_range, 2),
        Mistake("the codes are brought back at the end only, and not after each step", brought_back_at_the_end, 2),
        Mistake("one range serves all units, and each has its own", one_range_for_all_units, 2),
        Mistake("the gradient is not divided by its length", length_of_the_gradient),
        Mistake("the whole batch shares one length; each code has its own", one_length_for_all_codes, 2),
        Mistake("every step takes the first gradient again", first_gradient_in_codes, 2),
    ),
)

# ---------------------------------------------------------------- the fast gradient sign


def fgsm(net: nn.Module, x: Tensor, label: Tensor, epsilon: float, targeted: bool) -> Tensor:
    return adversarial.fgsm(net, x, label, epsilon, targeted=targeted, anyway=True)


def fgsm_part(name: str, points: float, n: int, *, targeted: bool, low: float, high: float) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        return {
            "net": net(generator, classes=CLASSES),
            "x": images(generator, n, low, high),
            "label": labels(generator, n),
            "epsilon": 0.1,
            "targeted": targeted,
        }

    return Part(name, points, inputs)


def less_wrong(net: nn.Module, x: Tensor, label: Tensor, epsilon: float, targeted: bool) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(net(x), label), x)
    return (x + (epsilon if targeted else -epsilon) * g.sign()).clamp(0, 1).detach()


def along_the_gradient(net: nn.Module, x: Tensor, label: Tensor, epsilon: float, targeted: bool) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(net(x), label, reduction="sum"), x)
    return (x + (-epsilon if targeted else epsilon) * g).clamp(0, 1).detach()


def from_the_score(net: nn.Module, x: Tensor, label: Tensor, epsilon: float, targeted: bool) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(-net(x).gather(1, label[:, None]).sum(), x)
    return (x + (-epsilon if targeted else epsilon) * g.sign()).clamp(0, 1).detach()


def never_targeted(net: nn.Module, x: Tensor, label: Tensor, epsilon: float, targeted: bool) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(net(x), label), x)
    return (x + epsilon * g.sign()).clamp(0, 1).detach()


def unclipped(net: nn.Module, x: Tensor, label: Tensor, epsilon: float, targeted: bool) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(net(x), label), x)
    return (x + (-epsilon if targeted else epsilon) * g.sign()).detach()


def step_itself(net: nn.Module, x: Tensor, label: Tensor, epsilon: float, targeted: bool) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(net(x), label), x)
    return ((-epsilon if targeted else epsilon) * g.sign()).detach()


def along_the_unit_gradient(net: nn.Module, x: Tensor, label: Tensor, epsilon: float, targeted: bool) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(net(x), label, reduction="sum"), x)
    g = F.normalize(g.flatten(1)).view_as(g)
    return (x + (-epsilon if targeted else epsilon) * g).clamp(0, 1).detach()


FGSM = Question(
    name="a3.fgsm",
    function="fgsm",
    reference=fgsm,
    parts=(
        fgsm_part("away from the label", 4, 1, targeted=False, low=0.2, high=0.8),
        fgsm_part("towards a target", 3, 1, targeted=True, low=0.2, high=0.8),
        fgsm_part("a batch, near black and white", 3, 3, targeted=False, low=0.0, high=1.0),
    ),
    mistakes=(
        Mistake("a target is treated like the true label", never_targeted, 7),
        Mistake("the loss falls where it should rise: the sign is reversed", less_wrong),
        Mistake("the step is along the gradient itself, and not along its sign", along_the_gradient),
        Mistake("the score was differentiated, and not the cross-entropy", from_the_score, seen=(CS231N, EECS498)),
        Mistake("the result is not clipped to [0, 1]", unclipped, 7),
        Mistake("the change is returned, and not the image", step_itself),
        Mistake("the gradient was divided by its length, and its sign was not taken", along_the_unit_gradient),
    ),
    tolerance=1e-4,  # two directions differ by hundredths
)

# ---------------------------------------------------------------- several steps, each projected


def pgd(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    ball = adversarial.Ball(x, epsilon, "linf")
    moved = (x + noise).clamp(0, 1)
    for _ in range(steps):
        with torch.no_grad():
            ball.pixels.copy_(adversarial.fgsm(net, moved, label, step_size, targeted=targeted, anyway=True))
        ball.project()
        moved = ball().detach().clone()
    return moved


def pgd_part(
    name: str, points: float, *, n: int, step_size: float, steps: int, noise: float, low: float, targeted: bool = False
) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        shape = (n, 3, 16, 16)
        return {
            "net": net(generator, classes=CLASSES),
            "x": images(generator, n, low, 1 - low),
            "label": labels(generator, n),
            "epsilon": 0.1,
            "step_size": step_size,
            "steps": steps,
            "noise": noise * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1),
            "targeted": targeted,
        }

    return Part(name, points, inputs)


def never_projected(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved = (x + noise).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label), moved)
        moved = (moved + way * g.sign()).clamp(0, 1)
    return moved.detach()


def projected_at_the_end(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved = x + noise
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label), moved)
        moved = moved + way * g.sign()
    return (x + (moved - x).clamp(-epsilon, epsilon)).clamp(0, 1).detach()


def first_gradient_again(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    initial = (x + noise).clamp(0, 1).requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(net(initial), label), initial)
    moved = initial.detach()
    for _ in range(steps):
        moved = (x + (moved + way * g.sign() - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved


def no_random_start(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved = x
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label), moved)
        moved = (x + (moved + way * g.sign() - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved.detach()


def outside_the_range(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved = x + noise
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label), moved)
        moved = x + (moved + way * g.sign() - x).clamp(-epsilon, epsilon)
    return moved.detach()


def downhill_steps(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved = (x + noise).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label), moved)
        moved = (x + (moved - way * g.sign() - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved.detach()


def steps_along_the_gradient(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved = (x + noise).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label, reduction="sum"), moved)
        moved = (x + (moved + way * g - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved.detach()


def noise_every_time(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved = x
    for _ in range(steps):
        moved = (moved + noise).clamp(0, 1).detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label), moved)
        moved = (x + (moved + way * g.sign() - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved.detach()


def no_target(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    moved = (x + noise).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label), moved)
        moved = (x + (moved + step_size * g.sign() - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved.detach()


def gradients_pile_up(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved, total = (x + noise).clamp(0, 1), torch.zeros_like(x)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        total = total + torch.autograd.grad(F.cross_entropy(net(moved), label), moved)[0]
        moved = (x + (moved + way * total.sign() - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved.detach()


def steps_of_unit_length(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved = (x + noise).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label, reduction="sum"), moved)
        g = g / g.square().sum((1, 2, 3), keepdim=True).sqrt()
        moved = (x + (moved + way * g - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved.detach()


def steps_over_the_squared_length(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = -step_size if targeted else step_size
    moved = (x + noise).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(moved), label, reduction="sum"), moved)
        g = g / g.square().sum((1, 2, 3), keepdim=True)
        moved = (x + (moved + way * g - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved.detach()


def steps_of_the_score(
    net: nn.Module,
    x: Tensor,
    label: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    noise: Tensor,
    targeted: bool,
) -> Tensor:
    way = step_size if targeted else -step_size
    moved = (x + noise).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (g,) = torch.autograd.grad(net(moved).gather(1, label[:, None]).sum(), moved)
        moved = (x + (moved + way * g.sign() - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved.detach()


PGD = Question(
    name="a3.pgd",
    function="pgd",
    reference=pgd,
    parts=(
        pgd_part("one step that stays in the ball", 4, n=1, step_size=0.06, steps=1, noise=0.0, low=0.2),
        pgd_part("steps that leave the ball", 6, n=1, step_size=0.06, steps=5, noise=0.0, low=0.2),
        pgd_part("from a random start, near black and white", 6, n=2, step_size=0.04, steps=5, noise=0.1, low=0.0),
        pgd_part("towards a target", 4, n=1, step_size=0.06, steps=5, noise=0.0, low=0.2, targeted=True),
    ),
    mistakes=(
        Mistake("the steps together are not kept within epsilon of x", never_projected, 4),
        Mistake("the result is projected once at the end, and not after each step", projected_at_the_end, 4),
        Mistake("every step takes the first gradient again", first_gradient_again, 4),
        Mistake("the steps start at x, whatever the noise", no_random_start, 14),
        Mistake("the images leave [0, 1]", outside_the_range, 14),
        Mistake("the loss falls where it should rise", downhill_steps),
        Mistake("the steps are along the gradient itself, and not along its sign", steps_along_the_gradient),
        Mistake("the noise is added before every step, and not once", noise_every_time, 14),
        Mistake("a target is treated like the true label", no_target, 16),
        Mistake("gradients pile up: each step takes the sum of all so far", gradients_pile_up, 4, seen=(EECS498,)),
        Mistake(
            "the gradient was divided by its length, and its sign was not taken",
            steps_of_unit_length,
            seen=(CS231N, EECS498),
        ),
        Mistake(
            "the gradient was divided by its squared length, and its sign was not taken",
            steps_over_the_squared_length,
            seen=(CS231N, EECS498),
        ),
        Mistake("the score was differentiated, and not the cross-entropy", steps_of_the_score, seen=(CS231N, EECS498)),
    ),
)

# ---------------------------------------------------------------- the share that is fooled


def fooled(before: Tensor, after: Tensor, label: Tensor) -> Tensor:
    right = before == label
    found = measure.interval(after[right] != label[right])
    return torch.tensor([found.mean, found.low, found.high], dtype=torch.float64)


def predictions_part(name: str, points: float, *, wrong: tuple[int, int], turned: tuple[int, int]) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Labels that the network gets wrong before and after, and others only after; all numbers are drawn."""

        def number(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (1,), generator=generator))

        n, before_too, only_after = number(25, 40), number(*wrong), number(*turned)
        label = torch.randint(CLASSES, (n,), generator=generator)
        order = torch.randperm(n, generator=generator)
        other = (label + torch.randint(1, CLASSES, (n,), generator=generator)) % CLASSES
        before, after = label.clone(), label.clone()
        before[order[:before_too]] = other[order[:before_too]]
        after[order[: before_too + only_after]] = other[order[: before_too + only_after]]
        return {"before": before, "after": after, "label": label}

    return Part(name, points, inputs, calls=3)


def share_of_all(before: Tensor, after: Tensor, label: Tensor) -> Tensor:
    n, z = len(label), 1.959964
    p = (after != label).double().mean()
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)).sqrt()
    return torch.stack([p, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)])


def divided_by_all(before: Tensor, after: Tensor, label: Tensor) -> Tensor:
    n, z = len(label), 1.959964
    p = ((before == label) & (after != label)).double().mean()
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)).sqrt()
    return torch.stack([p, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)])


def plus_minus_two_deviations(before: Tensor, after: Tensor, label: Tensor) -> Tensor:
    right = before == label
    p = (after[right] != label[right]).double().mean()
    half = 1.959964 * (p * (1 - p) / right.sum()).sqrt()
    return torch.stack([p, p - half, p + half])


def share_that_held(before: Tensor, after: Tensor, label: Tensor) -> Tensor:
    right = before == label
    n, z = right.sum(), 1.959964
    p = (after[right] == label[right]).double().mean()
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)).sqrt()
    return torch.stack([p, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)])


def not_divided(before: Tensor, after: Tensor, label: Tensor) -> Tensor:
    right = before == label
    n, z = right.sum(), 1.959964
    p = (after[right] != label[right]).double().mean()
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)).sqrt()
    return torch.stack([p, middle - half, middle + half])


FOOLED = Question(
    name="a3.fooled",
    function="fooled",
    reference=fooled,
    parts=(
        predictions_part("all were right before", 2, wrong=(0, 0), turned=(6, 16)),
        predictions_part("some were wrong before", 2, wrong=(4, 9), turned=(6, 12)),
        predictions_part("nobody is fooled", 1, wrong=(2, 6), turned=(0, 0)),
    ),
    mistakes=(
        Mistake("what was wrong before the attack counts as fooled", share_of_all, 2),
        Mistake("n counts the images that were wrong before, too", divided_by_all, 2),
        Mistake("the interval is p +- 1.96 deviations, and not Wilson's", plus_minus_two_deviations),
        Mistake("the share that held is returned, and not the share that was fooled", share_that_held),
        Mistake("the bounds are not divided by 1 + z^2 / n", not_divided),
    ),
)

WRITTEN = (
    Written(
        "a3.shape",
        5,
        "2 points: compares the recognition of 'jitter' and 'smooth', blurred, by numbers with their intervals. "
        "1 point: dividing by f^p changes which small step is steepest (another measure of length), but not the "
        "score that is climbed nor its maxima. 1 point: the network that guided the climb, or a sibling of the same "
        "architecture, is no fair judge; it is sure of the noise, too. 1 point: what the student's own row changed.",
    ),
    Written(
        "a3.linear",
        5,
        "2 points: the move is epsilon |w|_1 for the sign step and about epsilon |w|_2 for random signs; their ratio "
        "grows like the root of the number of inputs (0.8 of it for Gaussian weights), with a number from the table. "
        "2 points: quotes the sweep with its intervals and names where FGSM stops gaining and PGD does not: the "
        "network is linear only nearby. 1 point: a limit of the measurement (one network, scenes that it was trained "
        "on the like of, one norm, few steps).",
    ),
    Written(
        "a3.own",
        10,
        "3 points: a picture on the student's own photograph, made with their own loop, and the settings that made it. "
        "3 points: at least two other settings beside it, one regulariser changed at a time, and what each one did. "
        "2 points: a number that the climbed network did not give (another network, or what a person named). "
        "2 points: a weakness that the picture has, and what would mend it.",
    ),
)

ASSIGNMENT = Assignment(
    name="a3_ascent",
    title="Gradient ascent and adversarial examples",
    questions=(STEP, JITTERED_SLOPE, SMOOTH, ASCEND, CODE_ASCENT, FGSM, PGD, FOOLED),
    written=WRITTEN,
)
