"""Assignment 2: which pixels matter."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from course_lib import attribution, measure
from course_lib.grading.plain import Plain, net
from course_lib.grading.question import Assignment, Mistake, Part, Question, Written

__all__ = ["ASSIGNMENT"]

CLASSES = 5


def images(generator: Generator, n: int, height: int = 16, width: int = 16) -> Tensor:
    return torch.rand(n, 3, height, width, generator=generator, dtype=torch.float64)


def labels(generator: Generator, n: int) -> Tensor:
    """Labels of which no two neighbours are equal, so that one image's label never serves for the next."""
    return (torch.randint(CLASSES, (1,), generator=generator) + torch.arange(n)) % CLASSES


# ---------------------------------------------------------------- three backward rules of the ReLU


def relu_rule(gradient: Tensor, output: Tensor, rule: str) -> Tensor:
    on, helps = output > 0, gradient > 0
    return gradient * {"gradient": on, "deconvnet": helps, "guided": on & helps}[rule]


def rule_part(rule: str) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        gradient = torch.randn(2, 4, 6, 6, generator=generator)
        return {"gradient": gradient, "output": torch.randn(2, 4, 6, 6, generator=generator).relu(), "rule": rule}

    return Part(f"the rule {rule!r}", 5, inputs)


def guided_without_its_first_half(gradient: Tensor, output: Tensor, rule: str) -> Tensor:
    return gradient * ((output > 0) if rule == "gradient" else (gradient > 0))


def deconvnet_like_guided(gradient: Tensor, output: Tensor, rule: str) -> Tensor:
    return gradient * (output > 0) * ((gradient > 0) if rule != "gradient" else 1)


def at_least_zero(gradient: Tensor, output: Tensor, rule: str) -> Tensor:
    on, helps = output >= 0, gradient >= 0
    return gradient * {"gradient": on, "deconvnet": helps, "guided": on & helps}[rule]


def negative_gradients(gradient: Tensor, output: Tensor, rule: str) -> Tensor:
    on, hurts = output > 0, gradient < 0
    return gradient * {"gradient": on, "deconvnet": hurts, "guided": on & hurts}[rule]


RELU_RULE = Question(
    name="a2.relu_rule",
    function="relu_rule",
    reference=relu_rule,
    parts=tuple(rule_part(rule) for rule in ("gradient", "deconvnet", "guided")),
    mistakes=(
        Mistake("'guided' does not check whether the unit was on", guided_without_its_first_half, 10),
        Mistake("'deconvnet' checks whether the unit was on, and it should not", deconvnet_like_guided, 10),
        Mistake("outputs are compared with >= 0; a ReLU's output is never negative, so all pass", at_least_zero, 5),
        Mistake("negative gradients pass, and positive ones do not", negative_gradients, 5),
    ),
)

# ---------------------------------------------------------------- the saliency map


def saliency_part(name: str, points: float, n: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Each image has another label than the next one, and none the class that the network names."""
        drawn, x = net(generator, classes=CLASSES), images(generator, n)
        rows = drawn.build()(x).argsort(1)[:, :-1]  # (n, classes - 1), without the winner
        label = rows[torch.arange(n), torch.randint(CLASSES - 1, (n,), generator=generator)]
        for i in range(1, n):
            if label[i] == label[i - 1]:
                label[i] = rows[i][rows[i] != label[i - 1]][0]
        return {"net": drawn, "x": x, "label": label}

    return Part(name, points, inputs)


def of_the_probability(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    score = net(x).softmax(1).gather(1, label[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, x)
    return gradient.abs().amax(1, keepdim=True)


def of_the_cross_entropy(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(x), label, reduction="sum"), x)
    return gradient.abs().amax(1, keepdim=True)


def no_maximum(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    return gradient.abs()


def colours_summed(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    return gradient.sum(1, keepdim=True).abs()


def no_absolute_value(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    return gradient.amax(1, keepdim=True)


def one_label_for_all(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x)[:, label[0]].sum(), x)
    return gradient.abs().amax(1, keepdim=True)


def of_the_winner(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).amax(1).sum(), x)
    return gradient.abs().amax(1, keepdim=True)


def every_label_for_every_image(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x)[:, label].sum(), x)
    return gradient.abs().amax(1, keepdim=True)


def colours_averaged(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    return gradient.abs().mean(1, keepdim=True)


def times_the_pixels(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    return (gradient * x).detach().abs().amax(1, keepdim=True)


SALIENCY = Question(
    name="a2.saliency",
    function="saliency",
    reference=attribution.saliency,
    parts=(saliency_part("one image", 12, 1), saliency_part("a batch, a label for each image", 8, 3)),
    mistakes=(
        Mistake("the probability was differentiated, and not the score before the softmax", of_the_probability),
        Mistake("the cross-entropy was differentiated, and not the score", of_the_cross_entropy),
        Mistake("the maximum over the three colours is missing", no_maximum),
        Mistake("the colours were summed, where their signs cancel, and not maximised", colours_summed),
        Mistake("the maximum was taken before the absolute value", no_absolute_value),
        Mistake("the first image's label was used for every image", one_label_for_all, 12),
        Mistake("the class that the network names was differentiated, and not the one in label", of_the_winner),
        Mistake(
            "net(x)[:, label] takes every image's label for every image; each has its own",
            every_label_for_every_image,
            12,
        ),
        Mistake("the colours were averaged, and not maximised", colours_averaged),
        Mistake("the gradient was multiplied by the image", times_the_pixels),
    ),
)

# ---------------------------------------------------------------- occlusion


@torch.no_grad()
def occlusion(net: nn.Module, x: Tensor, label: int, patch: int, stride: int) -> Tensor:
    tops, lefts = (range(0, side - patch + 1, stride) for side in x.shape[2:])
    heat = x.new_zeros(len(tops), len(lefts))
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            covered = x.clone()
            covered[..., top : top + patch, left : left + patch] = 0.5
            heat[i, j] = net(covered).softmax(1)[0, label]
    return heat


def occlusion_part(name: str, points: float, patch: int, stride: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        return {
            "net": net(generator, classes=CLASSES),
            "x": images(generator, 1),
            "label": int(labels(generator, 1)),
            "patch": patch,
            "stride": stride,
        }

    return Part(name, points, inputs)


def black_patch(net: nn.Module, x: Tensor, label: int, patch: int, stride: int) -> Tensor:
    steps = range(0, x.shape[2] - patch + 1, stride)
    heat = torch.zeros(len(steps), len(steps))
    for i, top in enumerate(steps):
        for j, left in enumerate(steps):
            covered = x.clone()
            covered[..., top : top + patch, left : left + patch] = 0
            heat[i, j] = net(covered).softmax(1)[0, label]
    return heat


def score_after_covering(net: nn.Module, x: Tensor, label: int, patch: int, stride: int) -> Tensor:
    steps = range(0, x.shape[2] - patch + 1, stride)
    heat = torch.zeros(len(steps), len(steps))
    for i, top in enumerate(steps):
        for j, left in enumerate(steps):
            covered = x.clone()
            covered[..., top : top + patch, left : left + patch] = 0.5
            heat[i, j] = net(covered)[0, label]
    return heat


def patches_left_lying(net: nn.Module, x: Tensor, label: int, patch: int, stride: int) -> Tensor:
    steps = range(0, x.shape[2] - patch + 1, stride)
    heat, covered = torch.zeros(len(steps), len(steps)), x.clone()
    for i, top in enumerate(steps):
        for j, left in enumerate(steps):
            covered[..., top : top + patch, left : left + patch] = 0.5
            heat[i, j] = net(covered).softmax(1)[0, label]
    return heat


def stride_of_a_patch(net: nn.Module, x: Tensor, label: int, patch: int, stride: int) -> Tensor:
    steps = range(0, x.shape[2] - patch + 1, patch)
    heat = torch.zeros(len(steps), len(steps))
    for i, top in enumerate(steps):
        for j, left in enumerate(steps):
            covered = x.clone()
            covered[..., top : top + patch, left : left + patch] = 0.5
            heat[i, j] = net(covered).softmax(1)[0, label]
    return heat


def rows_for_columns(net: nn.Module, x: Tensor, label: int, patch: int, stride: int) -> Tensor:
    steps = range(0, x.shape[2] - patch + 1, stride)
    heat = torch.zeros(len(steps), len(steps))
    for i, left in enumerate(steps):
        for j, top in enumerate(steps):
            covered = x.clone()
            covered[..., top : top + patch, left : left + patch] = 0.5
            heat[i, j] = net(covered).softmax(1)[0, label]
    return heat


def probability_lost(net: nn.Module, x: Tensor, label: int, patch: int, stride: int) -> Tensor:
    steps = range(0, x.shape[2] - patch + 1, stride)
    heat = torch.zeros(len(steps), len(steps))
    whole = net(x).softmax(1)[0, label]
    for i, top in enumerate(steps):
        for j, left in enumerate(steps):
            covered = x.clone()
            covered[..., top : top + patch, left : left + patch] = 0.5
            heat[i, j] = whole - net(covered).softmax(1)[0, label]
    return heat


def logarithm_stored(net: nn.Module, x: Tensor, label: int, patch: int, stride: int) -> Tensor:
    steps = range(0, x.shape[2] - patch + 1, stride)
    heat = torch.zeros(len(steps), len(steps))
    for i, top in enumerate(steps):
        for j, left in enumerate(steps):
            covered = x.clone()
            covered[..., top : top + patch, left : left + patch] = 0.5
            heat[i, j] = net(covered).log_softmax(1)[0, label]
    return heat


OCCLUSION = Question(
    name="a2.occlusion",
    function="occlusion",
    reference=occlusion,
    parts=(
        occlusion_part("patches side by side", 12, patch=4, stride=4),
        occlusion_part("patches that overlap", 8, patch=6, stride=2),
    ),
    mistakes=(
        Mistake("the patch is black, and not mid grey (0.5)", black_patch),
        Mistake("the score is stored, and not the probability", score_after_covering),
        Mistake("patches stay on the image: each position needs a fresh copy", patches_left_lying),
        Mistake("the patch moves by its own size, whatever the stride", stride_of_a_patch, 12),
        Mistake("rows and columns are exchanged", rows_for_columns),
        Mistake("the drop of the probability is returned, and not the probability", probability_lost),
        Mistake("the logarithm of the probability is stored", logarithm_stored),
    ),
    tolerance=1e-4,  # probabilities of neighbouring patches are close to each other
)

# ---------------------------------------------------------------- integrated gradients


def integrated_gradients(net: nn.Module, x: Tensor, label: int, baseline: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for k in range(steps):
        total += attribution.gradient(net, baseline + (k + 0.5) / steps * (x - baseline), label)
    return (x - baseline) * total / steps


def path_part(name: str, points: float, baseline: float) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        return {
            "net": net(generator, classes=CLASSES),
            "x": images(generator, 1),
            "label": int(labels(generator, 1)),
            "baseline": baseline,
            "steps": 5,
        }

    return Part(name, points, inputs)


def path_without_its_length(net: nn.Module, x: Tensor, label: int, baseline: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for k in range(steps):
        point = (baseline + (k + 0.5) / steps * (x - baseline)).requires_grad_()
        total += torch.autograd.grad(net(point)[0, label], point)[0]
    return total / steps


def times_the_image(net: nn.Module, x: Tensor, label: int, baseline: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for k in range(steps):
        point = (baseline + (k + 0.5) / steps * (x - baseline)).requires_grad_()
        total += torch.autograd.grad(net(point)[0, label], point)[0]
    return x * total / steps


def from_the_left(net: nn.Module, x: Tensor, label: int, baseline: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for k in range(steps):
        point = (baseline + k / steps * (x - baseline)).requires_grad_()
        total += torch.autograd.grad(net(point)[0, label], point)[0]
    return (x - baseline) * total / steps


def summed_not_averaged(net: nn.Module, x: Tensor, label: int, baseline: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for k in range(steps):
        point = (baseline + (k + 0.5) / steps * (x - baseline)).requires_grad_()
        total += torch.autograd.grad(net(point)[0, label], point)[0]
    return (x - baseline) * total


def always_from_black(net: nn.Module, x: Tensor, label: int, baseline: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for k in range(steps):
        point = ((k + 0.5) / steps * x).requires_grad_()
        total += torch.autograd.grad(net(point)[0, label], point)[0]
    return x * total / steps


def from_the_right(net: nn.Module, x: Tensor, label: int, baseline: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for k in range(steps):
        point = (baseline + (k + 1) / steps * (x - baseline)).requires_grad_()
        total += torch.autograd.grad(net(point)[0, label], point)[0]
    return (x - baseline) * total / steps


def with_both_ends(net: nn.Module, x: Tensor, label: int, baseline: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for k in range(steps):
        point = (baseline + k / (steps - 1) * (x - baseline)).requires_grad_()
        total += torch.autograd.grad(net(point)[0, label], point)[0]
    return (x - baseline) * total / steps


def signs_lost(net: nn.Module, x: Tensor, label: int, baseline: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for k in range(steps):
        point = (baseline + (k + 0.5) / steps * (x - baseline)).requires_grad_()
        total += torch.autograd.grad(net(point)[0, label], point)[0]
    return ((x - baseline) * total / steps).abs()


INTEGRATED_GRADIENTS = Question(
    name="a2.integrated_gradients",
    function="integrated_gradients",
    reference=integrated_gradients,
    parts=(path_part("from black", 12, 0.0), path_part("from grey", 8, 0.5)),
    mistakes=(
        Mistake("the factor x - b is missing", path_without_its_length),
        Mistake("the gradients are multiplied by x, and not by x - b", times_the_image, 12),
        Mistake("the gradients are taken at the left end of each step, and not in its middle", from_the_left),
        Mistake("the gradients are summed, and not averaged", summed_not_averaged),
        Mistake("the path begins at black, whatever the baseline", always_from_black, 12),
        Mistake("the gradients are taken at the right end of each step, and not in its middle", from_the_right),
        Mistake("the points run from b to x, both included, as linspace(0, 1, m) gives them", with_both_ends),
        Mistake("the signs are lost: an absolute value was taken", signs_lost),
    ),
)

# ---------------------------------------------------------------- overlap of a map with the object


def object_part(name: str, points: float, n: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Maps that are warmer on the object, without ties; objects of 16, 20, 24 ... pixels."""
        heat = torch.rand(n, 1, 16, 16, generator=generator, dtype=torch.float64)
        mask = torch.zeros(n, 1, 16, 16, dtype=torch.bool)
        corners = torch.randint(8, (n, 2), generator=generator).tolist()
        for i, (top, left) in enumerate(corners):
            mask[i, 0, top : top + 4, left : left + 4 + i] = True
        return {"heat": heat + 0.3 * mask, "mask": mask}

    return Part(name, points, inputs)


def overlap(heat: Tensor, mask: Tensor) -> Tensor:
    return measure.iou(heat, mask)


def half_of_the_maximum(heat: Tensor, mask: Tensor) -> Tensor:
    found = heat > heat.amax((1, 2, 3), keepdim=True) / 2
    return (found & mask).flatten(1).sum(1) / (found | mask).flatten(1).sum(1)


def share_of_the_object(heat: Tensor, mask: Tensor) -> Tensor:
    scores = []
    for values, truth in zip(heat.flatten(1), mask.flatten(1), strict=True):
        hottest = values.topk(int(truth.sum())).indices
        scores.append(truth[hottest].double().mean())
    return torch.stack(scores)


def the_coldest(heat: Tensor, mask: Tensor) -> Tensor:
    scores = []
    for values, truth in zip(heat.flatten(1), mask.flatten(1), strict=True):
        found = torch.zeros_like(truth)
        found[values.argsort()[: int(truth.sum())]] = True
        scores.append((found & truth).sum() / (found | truth).sum())
    return torch.stack(scores)


def one_size_for_all(heat: Tensor, mask: Tensor) -> Tensor:
    size, scores = int(mask[0].sum()), []
    for values, truth in zip(heat.flatten(1), mask.flatten(1), strict=True):
        found = torch.zeros_like(truth)
        found[values.topk(size).indices] = True
        scores.append((found & truth).sum() / (found | truth).sum())
    return torch.stack(scores)


def above_the_mean(heat: Tensor, mask: Tensor) -> Tensor:
    found = heat > heat.mean((1, 2, 3), keepdim=True)
    return (found & mask).flatten(1).sum(1) / (found | mask).flatten(1).sum(1)


OVERLAP = Question(
    name="a2.overlap",
    function="overlap",
    reference=overlap,
    parts=(object_part("one scene", 6, 1), object_part("a batch of objects of different sizes", 4, 3)),
    mistakes=(
        Mistake("the map is cut at half its maximum, and not at as many pixels as the object has", half_of_the_maximum),
        Mistake(
            "the overlap is divided by the object alone (here that is Dice's coefficient, too), and not by the union",
            share_of_the_object,
        ),
        Mistake("the coldest pixels are chosen", the_coldest),
        Mistake("the first object's size is used for every scene", one_size_for_all, 6),
        Mistake("the map is cut at its mean, and not at as many pixels as the object has", above_the_mean),
    ),
)

WRITTEN = (
    Written(
        "a2.logit",
        5,
        "2 points: where the network is sure, the softmax is flat and its gradient nearly 0. 2 points: the gradient of "
        "the probability mixes in the other classes (it is p_y times the gradient of S_y less the mean gradient). "
        "1 point: a number of the student's own image.",
    ),
    Written(
        "a2.which_map",
        10,
        "4 points: names the map with the largest measured overlap, with its interval. 3 points: says what that map "
        "measures, and that the effects of a small change and of a covered patch are two quantities. 3 points: a "
        "scene where it fails, and why.",
    ),
)

ASSIGNMENT = Assignment(
    name="a2_pixels",
    title="Which pixels matter",
    questions=(RELU_RULE, SALIENCY, OCCLUSION, INTEGRATED_GRADIENTS, OVERLAP),
    written=WRITTEN,
)
