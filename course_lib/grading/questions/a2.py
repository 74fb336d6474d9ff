"""Assignment 2: which pixels matter."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from course_lib import attribution, measure
from course_lib.grading.plain import Plain, net
from course_lib.grading.question import CS231N, EECS498, Assignment, Mistake, Part, Question, Written

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


def rule_part(rule: str, points: float) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        gradient = torch.randn(2, 4, 6, 6, generator=generator)
        return {"gradient": gradient, "output": torch.randn(2, 4, 6, 6, generator=generator).relu(), "rule": rule}

    return Part(f"the rule {rule!r}", points, inputs)


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
    parts=(rule_part("gradient", 4), rule_part("deconvnet", 3), rule_part("guided", 3)),
    mistakes=(
        Mistake("'guided' does not check whether the unit was on", guided_without_its_first_half, 7),
        Mistake("'deconvnet' checks whether the unit was on, and it should not", deconvnet_like_guided, 7),
        Mistake("outputs are compared with >= 0; a ReLU's output is never negative, so all pass", at_least_zero, 3),
        Mistake("negative gradients pass, and positive ones do not", negative_gradients, 4),
    ),
)

# ---------------------------------------------------------------- a rule inside a network


def rule_map(net: nn.Module, x: Tensor, label: Tensor, rule: str) -> Tensor:
    return attribution.gradient(net, x, label, rule)


def rule_map_part(name: str, points: float, rule: str, n: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        drawn = net(generator, channels=(8, 8, 8), classes=CLASSES)
        return {"net": drawn, "x": images(generator, n), "label": labels(generator, n), "rule": rule}

    return Part(name, points, inputs)


def plain_gradient(net: nn.Module, x: Tensor, label: Tensor, rule: str) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)[0]


def rule_at_the_pixels(net: nn.Module, x: Tensor, label: Tensor, rule: str) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    return g if rule == "gradient" else g.clamp(min=0)


def masked_already(net: nn.Module, x: Tensor, label: Tensor, rule: str) -> Tensor:
    kept, handles = {}, []

    def forward(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept[module] = output.detach()

    def backward(module: nn.Module, to_input: Any, to_output: Any) -> Any:
        return (relu_rule(to_input[0], kept[module], rule),)

    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    for module in relus:
        handles += [module.register_forward_hook(forward), module.register_full_backward_hook(backward)]
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    for handle in handles:
        handle.remove()
    return g


def last_relu_only(net: nn.Module, x: Tensor, label: Tensor, rule: str) -> Tensor:
    kept, handles = {}, []

    def forward(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept[module] = output.detach()

    def backward(module: nn.Module, to_input: Any, to_output: Any) -> Any:
        return (relu_rule(to_output[0], kept[module], rule),)

    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)][-1:]
    for module in relus:
        handles += [module.register_forward_hook(forward), module.register_full_backward_hook(backward)]
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    for handle in handles:
        handle.remove()
    return g


def one_label_for_all_maps(net: nn.Module, x: Tensor, label: Tensor, rule: str) -> Tensor:
    kept, handles = {}, []

    def forward(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept[module] = output.detach()

    def backward(module: nn.Module, to_input: Any, to_output: Any) -> Any:
        return (relu_rule(to_output[0], kept[module], rule),)

    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    for module in relus:
        handles += [module.register_forward_hook(forward), module.register_full_backward_hook(backward)]
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(net(x)[:, label[0]].sum(), x)
    for handle in handles:
        handle.remove()
    return g


def rule_of_the_probability(net: nn.Module, x: Tensor, label: Tensor, rule: str) -> Tensor:
    kept, handles = {}, []

    def forward(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept[module] = output.detach()

    def backward(module: nn.Module, to_input: Any, to_output: Any) -> Any:
        return (relu_rule(to_output[0], kept[module], rule),)

    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    for module in relus:
        handles += [module.register_forward_hook(forward), module.register_full_backward_hook(backward)]
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(net(x).softmax(1).gather(1, label[:, None]).sum(), x)
    for handle in handles:
        handle.remove()
    return g


def sizes_only(net: nn.Module, x: Tensor, label: Tensor, rule: str) -> Tensor:
    kept, handles = {}, []

    def forward(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept[module] = output.detach()

    def backward(module: nn.Module, to_input: Any, to_output: Any) -> Any:
        return (relu_rule(to_output[0], kept[module], rule),)

    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    for module in relus:
        handles += [module.register_forward_hook(forward), module.register_full_backward_hook(backward)]
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    for handle in handles:
        handle.remove()
    return g.abs()


def one_map_for_the_colours(net: nn.Module, x: Tensor, label: Tensor, rule: str) -> Tensor:
    kept, handles = {}, []

    def forward(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept[module] = output.detach()

    def backward(module: nn.Module, to_input: Any, to_output: Any) -> Any:
        return (relu_rule(to_output[0], kept[module], rule),)

    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    for module in relus:
        handles += [module.register_forward_hook(forward), module.register_full_backward_hook(backward)]
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    for handle in handles:
        handle.remove()
    return g.abs().amax(1, keepdim=True)


RULE_MAP = Question(
    name="a2.rule_map",
    function="rule_map",
    reference=rule_map,
    parts=(
        rule_map_part("the gradient, as ever", 2, "gradient", 1),
        rule_map_part("guided backprop", 4, "guided", 1),
        rule_map_part("deconvnet", 3, "deconvnet", 1),
        rule_map_part("a batch, a label for each image", 3, "guided", 3),
    ),
    mistakes=(
        Mistake("the rule never enters the network: this is the gradient, whatever the rule", plain_gradient, 2),
        Mistake("the rule is applied once, to the pixels, and not at each ReLU", rule_at_the_pixels, 2),
        Mistake(
            "the rule works on what PyTorch has sent through the ReLU already; 'deconvnet' wants what arrives there",
            masked_already,
            9,
        ),
        Mistake("only the last ReLU follows the rule", last_relu_only, 2),
        Mistake("the first image's label was used for every image", one_label_for_all_maps, 9),
        Mistake("the probability was differentiated, and not the score before the softmax", rule_of_the_probability),
        Mistake("the signs are lost: an absolute value was taken", sizes_only),
        Mistake("the three colours became one map; all three are asked for", one_map_for_the_colours),
    ),
    needs=("a2.relu_rule",),
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


def of_the_mean_cross_entropy(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(x), label), x)
    return gradient.abs().amax(1, keepdim=True)


def positive_gradients(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    return gradient.clamp(min=0).amax(1, keepdim=True)


def of_the_gap_to_one(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((1 - net(x).gather(1, label[:, None])).square().sum(), x)
    return gradient.abs().amax(1, keepdim=True)


def no_dimension_of_colours(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).gather(1, label[:, None]).sum(), x)
    return gradient.abs().amax(1)


SALIENCY = Question(
    name="a2.saliency",
    function="saliency",
    reference=attribution.saliency,
    parts=(saliency_part("one image", 6, 1), saliency_part("a batch, a label for each image", 4, 3)),
    mistakes=(
        Mistake("the probability was differentiated, and not the score before the softmax", of_the_probability),
        Mistake("the cross-entropy was differentiated, and not the score", of_the_cross_entropy),
        Mistake("the maximum over the three colours is missing", no_maximum),
        Mistake("the colours were summed, where their signs cancel, and not maximised", colours_summed),
        Mistake("the maximum was taken before the absolute value", no_absolute_value, seen=(CS231N, EECS498)),
        Mistake("the first image's label was used for every image", one_label_for_all, 6),
        Mistake("the class that the network names was differentiated, and not the one in label", of_the_winner),
        Mistake(
            "net(x)[:, label] takes every image's label for every image; each has its own",
            every_label_for_every_image,
            6,
        ),
        Mistake("the colours were averaged, and not maximised", colours_averaged),
        Mistake("the gradient was multiplied by the image", times_the_pixels),
        Mistake(
            "the cross-entropy, averaged over the batch, was differentiated, and not the score",
            of_the_mean_cross_entropy,
            seen=(EECS498,),
        ),
        Mistake(
            "only the positive parts of the gradient count, and not its absolute value",
            positive_gradients,
            seen=(CS231N,),
        ),
        Mistake("(1 - score)^2 was differentiated, and not the score", of_the_gap_to_one, seen=(CS231N,)),
        Mistake(
            "the dimension of the colours is gone; keepdim=True keeps it, with length 1",
            no_dimension_of_colours,
            seen=(CS231N, EECS498),
        ),
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
        occlusion_part("patches side by side", 6, patch=4, stride=4),
        occlusion_part("patches that overlap", 4, patch=6, stride=2),
    ),
    mistakes=(
        Mistake("the patch is black, and not mid grey (0.5)", black_patch),
        Mistake("the score is stored, and not the probability", score_after_covering),
        Mistake("patches stay on the image: each position needs a fresh copy", patches_left_lying),
        Mistake("the patch moves by its own size, whatever the stride", stride_of_a_patch, 6),
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
    parts=(path_part("from black", 5, 0.0), path_part("from grey", 3, 0.5)),
    mistakes=(
        Mistake("the factor x - b is missing", path_without_its_length),
        Mistake("the gradients are multiplied by x, and not by x - b", times_the_image, 5),
        Mistake("the gradients are taken at the left end of each step, and not in its middle", from_the_left),
        Mistake("the gradients are summed, and not averaged", summed_not_averaged),
        Mistake("the path begins at black, whatever the baseline", always_from_black, 5),
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
    parts=(object_part("one scene", 3, 1), object_part("a batch of objects of different sizes", 2, 3)),
    mistakes=(
        Mistake("the map is cut at half its maximum, and not at as many pixels as the object has", half_of_the_maximum),
        Mistake(
            "the overlap is divided by the object alone (here that is Dice's coefficient, too), and not by the union",
            share_of_the_object,
        ),
        Mistake("the coldest pixels are chosen", the_coldest),
        Mistake("the first object's size is used for every scene", one_size_for_all, 3),
        Mistake("the map is cut at its mean, and not at as many pixels as the object has", above_the_mean),
    ),
)

# ---------------------------------------------------------------- how much one unit sees


def receptive_field(layers: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    """By the corners of what the unit at 0 and its neighbour read, layer after layer from the top down."""

    def corners(unit: int) -> tuple[int, int]:
        first = last = unit
        for kernel, stride, padding in reversed(layers):
            first, last = first * stride - padding, last * stride - padding + kernel - 1
        return first, last

    (first, last), (second, _) = corners(0), corners(1)
    return last - first + 1, second - first, first


def field_part(name: str, points: float, depth: int, *, padded: bool, strided: bool = True) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Kernels of 3 to 11 pixels, strides of 2 to 4 or 1, paddings of 1 to 3 or 0."""

        def number(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (1,), generator=generator))

        layers = [
            [2 * number(1, 5) + 1, number(2, 4) if strided else 1, number(1, 3) if padded else 0] for _ in range(depth)
        ]
        return {"layers": layers}

    return Part(name, points, inputs, calls=3)


def strides_forgotten(layers: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    size, jump, start = 1, 1, 0
    for kernel, stride, padding in layers:
        size += kernel - 1
        start -= padding * jump
        jump *= stride
    return size, jump, start


def stride_too_early(layers: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    size, jump, start = 1, 1, 0
    for kernel, stride, padding in layers:
        jump *= stride
        size += (kernel - 1) * jump
        start -= padding * jump
    return size, jump, start


def kernels_whole(layers: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    size, jump, start = 1, 1, 0
    for kernel, stride, padding in layers:
        size += kernel * jump
        start -= padding * jump
        jump *= stride
    return size, jump, start


def paddings_added(layers: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    size, jump, start = 1, 1, 0
    for kernel, stride, padding in layers:
        size += (kernel - 1) * jump
        start -= padding
        jump *= stride
    return size, jump, start


def start_to_the_right(layers: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    size, jump, start = 1, 1, 0
    for kernel, stride, padding in layers:
        size += (kernel - 1) * jump
        start += padding * jump
        jump *= stride
    return size, jump, start


def middle_for_start(layers: list[tuple[int, int, int]]) -> tuple[float, float, float]:
    size, jump, start = 1, 1, 0
    for kernel, stride, padding in layers:
        size += (kernel - 1) * jump
        start -= padding * jump
        jump *= stride
    return float(size), float(jump), start + (size - 1) / 2


RECEPTIVE_FIELD = Question(
    name="a2.receptive_field",
    function="receptive_field",
    reference=receptive_field,
    parts=(
        field_part("one layer", 2, 1, padded=False),
        field_part("three layers of stride 1", 2, 3, padded=False, strided=False),
        field_part("three layers with strides", 3, 3, padded=False),
        field_part("three layers with strides and padding", 3, 3, padded=True),
    ),
    mistakes=(
        Mistake("a kernel adds k - 1 pixels of the image, whatever the strides below it", strides_forgotten, 4),
        Mistake("a layer's own stride counts for its own kernel; only those below it do", stride_too_early, 2),
        Mistake("a kernel adds k, and not k - 1, to the size", kernels_whole),
        Mistake("paddings are added up as they are, and not in pixels of the image", paddings_added, 7),
        Mistake("padding moves the first field to the right, and not to the left", start_to_the_right, 7),
        Mistake("the middle of the first field is returned, and not its first pixel", middle_for_start),
    ),
    tolerance=1e-6,
)

# ---------------------------------------------------------------- maximally activating patches


def top_patches(maps: Tensor, stride: int, start: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    rows = sorted(
        ((float(one.max()), i, divmod(int(one.argmax()), one.shape[1])) for i, one in enumerate(maps)), reverse=True
    )[:k]
    values, index, places = zip(*rows, strict=True)
    return torch.tensor(values).double(), torch.tensor(index), start + stride * torch.tensor(places)


def patches_part(name: str, points: float, k: int, height: int, width: int, start: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """One image has the two highest values of all, and the highest mean is another's."""
        maps = torch.rand(7, height, width, generator=generator, dtype=torch.float64)
        order = torch.randperm(7, generator=generator)
        maps[order[0], 1, 2], maps[order[0], 3, 0] = 3.0, 2.9
        maps[order[1]] += 0.5
        maps[order[2], 2, 3] = 2.0 + float(torch.rand((), generator=generator)) / 2
        return {"maps": maps, "stride": 4, "start": start, "k": k}

    return Part(name, points, inputs)


def positions_and_not_images(maps: Tensor, stride: int, start: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    values, at = maps.flatten().topk(k)
    n = maps[0].numel()
    places = torch.stack([at % n // maps.shape[2], at % n % maps.shape[2]], 1)
    return values, at // n, start + stride * places


def by_the_mean(maps: Tensor, stride: int, start: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    values, index = maps.mean((1, 2)).topk(k)
    at = maps[index].flatten(1).argmax(1)
    return values, index, start + stride * torch.stack([at // maps.shape[2], at % maps.shape[2]], 1)


def weakest_first(maps: Tensor, stride: int, start: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    values, index = maps.amax((1, 2)).topk(k)
    at = maps[index].flatten(1).argmax(1)
    corners = start + stride * torch.stack([at // maps.shape[2], at % maps.shape[2]], 1)
    return values.flip(0), index.flip(0), corners.flip(0)


def columns_first(maps: Tensor, stride: int, start: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    values, index = maps.amax((1, 2)).topk(k)
    at = maps[index].flatten(1).argmax(1)
    return values, index, start + stride * torch.stack([at % maps.shape[2], at // maps.shape[2]], 1)


def start_forgotten(maps: Tensor, stride: int, start: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    values, index = maps.amax((1, 2)).topk(k)
    at = maps[index].flatten(1).argmax(1)
    return values, index, stride * torch.stack([at // maps.shape[2], at % maps.shape[2]], 1)


def height_for_width(maps: Tensor, stride: int, start: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    values, index = maps.amax((1, 2)).topk(k)
    at = maps[index].flatten(1).argmax(1)
    return values, index, start + stride * torch.stack([at // maps.shape[1], at % maps.shape[1]], 1)


TOP_PATCHES = Question(
    name="a2.top_patches",
    function="top_patches",
    reference=top_patches,
    parts=(
        patches_part("one patch, fields that begin at 0", 4, 1, 6, 6, 0),
        patches_part("three patches, fields that begin outside", 4, 3, 6, 6, -7),
        patches_part("maps that are wider than high", 2, 3, 5, 8, -7),
    ),
    mistakes=(
        Mistake("the strongest positions are taken, and one image comes twice", positions_and_not_images, 4),
        Mistake("images are ranked by their mean activation, and not by their largest", by_the_mean),
        Mistake("the weakest of the k comes first", weakest_first, 4),
        Mistake("the corners are (left, top), and should be (top, left)", columns_first),
        Mistake("the fields begin at pixel 0, whatever `start`", start_forgotten, 4),
        Mistake("a position is unravelled by the map's height, and not by its width", height_for_width, 8),
    ),
)

# ---------------------------------------------------------------- seeds of a cut-out


def seeds(heat: Tensor, inside: float, outside: float) -> Tensor:
    rows = heat.flatten(1)
    low, high = torch.quantile(rows, rows.new_tensor([outside, inside]), dim=1)  # (n,)
    return torch.where(rows >= high[:, None], 1, torch.where(rows <= low[:, None], 0, 2)).view_as(heat)


def seeds_part(name: str, points: float, n: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Maps of which each next one is higher and rises more."""
        heat = torch.randn(n, 1, 8, 11, generator=generator, dtype=torch.float64)
        scale = torch.arange(1.0, n + 1).double().view(n, 1, 1, 1)
        drawn = torch.rand(2, generator=generator).tolist()
        return {"heat": scale * (1 + heat), "inside": 0.85 + 0.1 * drawn[0], "outside": 0.2 + 0.2 * drawn[1]}

    return Part(name, points, inputs)


def one_quantile_for_all(heat: Tensor, inside: float, outside: float) -> Tensor:
    low, high = heat.quantile(outside), heat.quantile(inside)
    return torch.where(heat >= high, 1, torch.where(heat <= low, 0, 2))


def shares_of_the_largest(heat: Tensor, inside: float, outside: float) -> Tensor:
    largest = heat.amax((1, 2, 3), keepdim=True)
    return torch.where(heat >= inside * largest, 1, torch.where(heat <= outside * largest, 0, 2))


def object_for_background(heat: Tensor, inside: float, outside: float) -> Tensor:
    rows = heat.flatten(1)
    low, high = (rows.quantile(share, 1, keepdim=True) for share in (outside, inside))
    return torch.where(rows >= high, 0, torch.where(rows <= low, 1, 2)).view_as(heat)


def undecided_as_object(heat: Tensor, inside: float, outside: float) -> Tensor:
    rows = heat.flatten(1)
    low, high = (rows.quantile(share, 1, keepdim=True) for share in (outside, inside))
    return torch.where(rows >= high, 1, torch.where(rows <= low, 0, 3)).view_as(heat)


def nothing_undecided(heat: Tensor, inside: float, outside: float) -> Tensor:
    rows = heat.flatten(1)
    return (rows >= rows.quantile(inside, 1, keepdim=True)).long().view_as(heat)


def coldest_as_object(heat: Tensor, inside: float, outside: float) -> Tensor:
    rows = -heat.flatten(1)
    low, high = (rows.quantile(share, 1, keepdim=True) for share in (outside, inside))
    return torch.where(rows >= high, 1, torch.where(rows <= low, 0, 2)).view_as(heat)


SEEDS = Question(
    name="a2.seeds",
    function="seeds",
    reference=seeds,
    parts=(seeds_part("one map", 3, 1), seeds_part("a batch of maps of different heights", 2, 3)),
    mistakes=(
        Mistake("the quantiles are those of all maps together; each map has its own", one_quantile_for_all, 3),
        Mistake("shares of the largest value are taken, and not quantiles", shares_of_the_largest),
        Mistake("object and background are exchanged", object_for_background),
        Mistake("undecided pixels begin as object (3), and should begin as background (2)", undecided_as_object),
        Mistake("no pixel is left for GrabCut to decide", nothing_undecided),
        Mistake("the coldest pixels are the object's", coldest_as_object),
    ),
)

WRITTEN = (
    Written(
        "a2.logit",
        5,
        "2 points: where the network is sure, the softmax is flat and its gradient nearly 0. 2 points: the gradient of "
        "the probability mixes in the other classes (it is p_y times the gradient of S_y less the mean gradient). "
        "1 point: the two largest values of a scene.",
    ),
    Written(
        "a2.which_map",
        5,
        "2 points: names the map with the largest measured overlap, with its interval. 2 points: says what that map "
        "measures, and that the effects of a small change and of a covered patch are two quantities. 1 point: a "
        "scene where it fails, and why.",
    ),
    Written(
        "a2.own",
        10,
        "3 points: maps of the student's own photograph by three of their functions, and the cut-out that one of them "
        "seeds. 3 points: two settings beside it, one thing changed at a time (patch, stride, rule, class), and what "
        "each one did. 2 points: the probability with the cut-out alone, or without it, which no map gives itself. "
        "2 points: where the picture misleads, and how one would notice.",
    ),
)

ASSIGNMENT = Assignment(
    name="a2_pixels",
    title="Which pixels matter",
    questions=(
        RELU_RULE,
        RULE_MAP,
        SALIENCY,
        OCCLUSION,
        INTEGRATED_GRADIENTS,
        OVERLAP,
        SEEDS,
        RECEPTIVE_FIELD,
        TOP_PATCHES,
    ),
    written=WRITTEN,
)
