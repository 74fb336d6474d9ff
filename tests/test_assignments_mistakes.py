"""Known mistakes: each fails the same parts whatever the draw, and is called by its own name."""

import warnings
from functools import cache

import pytest
import torch

from course_lib.grading import compare, diagnose, judge, plain, question

SEEDS = 8
KEYS = question.keys()
QUESTIONS = [asked.name for key in KEYS for asked in question.assignment(key).questions]
RAISED = (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError)  # what `compare` expects of a mistake


def call(function, inputs):
    """What a function returns for these inputs, as plain data; an error of a known kind is returned itself."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return compare.settle(function(**{name: plain.build(value) for name, value in inputs.items()}))
    except RAISED as error:
        return error


def alike(asked, a, b):
    return (
        not isinstance(a, Exception) and not isinstance(b, Exception) and not compare.difference(a, b, asked.tolerance)
    )


def wrong(asked, answer, inputs, expected):
    return isinstance(answer, Exception) or not (
        alike(asked, answer, expected) or compare._also_right(asked, answer, inputs, expected)
    )


@cache
def drawn(name, seed):
    """Of each call: (part, inputs, expected, what each known mistake returns)."""
    mistakes = question.question(name).mistakes
    planned = judge.calls.__wrapped__(name, seed)
    return [(part, inputs, right, [call(one.function, inputs) for one in mistakes]) for part, inputs, right in planned]


@pytest.mark.slow
@pytest.mark.parametrize("name", QUESTIONS)
def test_the_parts_that_a_mistake_fails_do_not_depend_on_the_draw(name):
    asked = question.question(name)
    for i, mistake in enumerate(asked.mistakes):
        failed = set()
        for seed in range(SEEDS):
            rows = drawn(name, seed)
            failed.add(frozenset(part for part, inputs, right, found in rows if wrong(asked, found[i], inputs, right)))
        assert len(failed) == 1, (mistake.says, failed)
        kept = sum(part.points for k, part in enumerate(asked.parts) if k not in next(iter(failed)))
        assert kept == mistake.points, mistake.says


def rows(asked, answers):
    """What `diagnose` gets: the calls of one draw, and these answers to them."""
    return [
        (part, inputs, right, {"error": str(answer)} if isinstance(answer, Exception) else {"answer": answer})
        for (part, inputs, right, _), answer in zip(drawn(asked.name, 0), answers, strict=True)
    ]


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_mistake_is_called_by_its_own_name(name):
    """In every part that it fails, but for those where it raises."""
    asked = question.question(name)
    for i, mistake in enumerate(asked.mistakes):
        answers = [found[i] for *_, found in drawn(name, 0)]
        said = diagnose.wrong_parts(asked, rows(asked, answers)).values()
        raised = {str(one) for one in answers if isinstance(one, Exception)}
        assert set(said) - raised <= {diagnose.named(mistake)}, said
        assert set(said), mistake.says


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_mistake_that_explains_only_one_call_is_not_named(name):
    asked = question.question(name)
    for i in range(len(asked.mistakes)):
        other = (i + 1) % len(asked.mistakes)
        answers = [found[i if k == 0 else other] for k, (*_, found) in enumerate(drawn(name, 0))]
        said = set(diagnose.wrong_parts(asked, rows(asked, answers)).values())
        whole = [[found[k] for *_, found in drawn(name, 0)] for k in (i, other)]
        if all(
            any(
                wrong(asked, one, inputs, right) and not alike(asked, one, there)
                for one, there, (_, inputs, right, _) in zip(answers, same, drawn(name, 0), strict=True)
            )
            for same in whole
        ):
            assert not said & {diagnose.named(asked.mistakes[k]) for k in (i, other)}, said


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_mistake_returns_what_is_not_finite(name):
    """An answer is compared with every mistake, and NaN cannot be compared."""
    for _, _, _, found in drawn(name, 0):
        assert not any(compare.not_finite(one) for one in found if not isinstance(one, Exception))


@pytest.mark.parametrize("name", QUESTIONS)
def test_there_are_four_mistakes_or_more_and_each_says_something_else(name):
    mistakes = question.question(name).mistakes
    assert len({one.says for one in mistakes}) == len(mistakes) >= 4


# --- what people hand in, by another hand than the list of mistakes ------------------------------------------

HANDED_IN = {
    ("a1.conditional", "wrong way"): (
        """
import torch
def conditional(codes, perplexity):
    d = torch.cdist(codes, codes) ** 2
    d.fill_diagonal_(torch.inf)
    lo, hi = torch.full((len(d), 1), -40.0), torch.full((len(d), 1), 40.0)
    for _ in range(60):
        mid = (lo + hi) / 2
        p = torch.softmax(-mid.exp() * d, 1)
        wide = torch.special.entr(p).sum(1, keepdim=True).exp() > perplexity
        hi, lo = torch.where(wide, mid, hi), torch.where(wide, lo, mid)
    return p
""",
        "the bisection walks the wrong way",
    ),
    ("a1.conditional", "NaN"): (
        """
import torch
def conditional(codes, perplexity):
    d = torch.cdist(codes, codes) ** 2
    d.fill_diagonal_(torch.inf)
    lo, hi = torch.full((len(d), 1), -40.0), torch.full((len(d), 1), 40.0)
    for _ in range(60):
        mid = (lo + hi) / 2
        p = torch.softmax(-mid.exp() * d, 1)
        wide = torch.exp(-(p * p.log()).sum(1, keepdim=True)) > perplexity
        lo, hi = torch.where(wide, mid, lo), torch.where(wide, hi, mid)
    return p
""",
        "as where the entropy is NaN (0 * log 0)",
    ),
    ("a1.pairs", "one short"): (
        """
import torch
def pairs(sessions, window):
    out = []
    for s in sessions:
        for i in range(len(s)):
            for j in range(len(s)):
                if i != j and abs(i - j) < window:
                    out.append((s[i], s[j]))
    return torch.tensor(out)
""",
        "the window is one word too short on both sides",
    ),
    ("a1.skip_gram_step", "tables changed in place"): (
        """
import torch
def skip_gram_step(v, u, word, neighbour, noise, rate):
    a = torch.sigmoid(v[word] @ u[neighbour]) - 1
    b = torch.sigmoid(u[noise] @ v[word])
    v[word] -= rate * (a * u[neighbour] + b @ u[noise])
    u[neighbour] -= rate * a * v[word]
    u.index_add_(0, noise, -rate * b[:, None] * v[word])
    return v, u
""",
        "the u's move by the word's new vector",
    ),
    ("a1.skip_gram_step", "tables changed in place, the u's first"): (
        """
import torch
def skip_gram_step(v, u, word, neighbour, noise, rate):
    a = torch.sigmoid(v[word] @ u[neighbour]) - 1
    b = torch.sigmoid(u[noise] @ v[word])
    u[neighbour] -= rate * a * v[word]
    for r, weight in zip(noise, b):
        u[r] -= rate * weight * v[word]
    v[word] -= rate * (a * u[neighbour] + b @ u[noise])
    return v, u
""",
        "v moves by the u's that have moved already",
    ),
    ("a2.saliency", "the winner"): (
        """
import torch
def saliency(net, x, label):
    x.requires_grad_()
    net(x).max(1).values.sum().backward()
    return x.grad.abs().max(1, keepdim=True).values
""",
        "the class that the network names was differentiated",
    ),
    ("a2.saliency", "all labels"): (
        """
import torch
def saliency(net, x, label):
    x.requires_grad_()
    net(x)[:, label].sum().backward()
    return x.grad.abs().max(1, keepdim=True).values
""",
        "takes every image's label for every image",
    ),
    ("a3.step", "the sign of decay"): (
        """
import torch
def step(x, slope, length, decay):
    d = slope + 2 * decay * (x - 0.5)
    n = d.flatten(1).norm(dim=1).clamp(min=1e-12)
    return (x + length * d / n[:, None, None, None]).clamp(0, 1)
""",
        "the decay pushes away from mid grey",
    ),
    ("a3.fgsm", "the unit gradient"): (
        """
import torch
import torch.nn.functional as F
def fgsm(net, x, label, epsilon, targeted):
    x.requires_grad_()
    F.cross_entropy(net(x), label, reduction="sum").backward()
    g = x.grad / x.grad.norm(p=2, dim=(1, 2, 3), keepdim=True)
    return (x + (-1 if targeted else 1) * epsilon * g).clamp(0, 1)
""",
        "the gradient was divided by its length, and its sign was not taken",
    ),
    ("a4.orientation_bins", "an unwrapped angle"): (
        """
import math, torch
def orientation_bins(right, down, count):
    angle = torch.atan2(down, right)[:, None]
    centre = 2 * math.pi / count * torch.arange(count)[None, :, None, None]
    share = 1 - (angle - centre).abs() * count / (2 * math.pi)
    return torch.sqrt(right**2 + down**2)[:, None] * share.clamp(min=0)
""",
        "negative angles are not brought into the circle",
    ),
    ("a2.saliency", "the mean of the loss"): (
        """
import torch.nn as nn
def saliency(net, x, label):
    x.requires_grad_()
    nn.CrossEntropyLoss()(net(x), label).backward()
    return x.grad.abs().max(dim=1, keepdim=True)[0]
""",
        "averaged over the batch",
    ),
    ("a2.saliency", "three dimensions"): (
        """
import torch
def saliency(net, x, label):
    x.requires_grad_()
    net(x).gather(1, label.view(-1, 1)).squeeze(1).sum().backward()
    return torch.max(torch.abs(x.grad), dim=1)[0]
""",
        "keepdim=True keeps it",
    ),
    ("a3.step", "the square of the length"): (
        """
import torch
def step(x, slope, length, decay):
    g = slope - 2 * decay * (x - 0.5)
    norm = torch.linalg.vector_norm(g, dim=(1, 2, 3), keepdim=True)
    return torch.clip(x + length * g / (norm**2).clamp(min=1e-12), 0, 1)
""",
        "the square of its length",
    ),
    ("a3.step", "decay of the norm"): (
        """
import torch
def step(x, slope, length, decay):
    y = x.clone().requires_grad_()
    (-decay * (y - 0.5).flatten(1).norm(dim=1)).sum().backward()
    d = slope + y.grad
    return (x + length * d / d.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]).clamp(0, 1)
""",
        "and not its square",
    ),
    ("a3.jittered_slope", "every label for all"): (
        """
import torch
def jittered_slope(net, x, label, shifts):
    x = x.detach().requires_grad_()
    for a, b in shifts.tolist():
        (net(torch.roll(x, (a, b), (2, 3)))[:, label].sum() / len(shifts)).backward()
    return x.grad
""",
        "takes every image's label for every image",
    ),
    ("a3.pgd", "a gradient that is never cleared"): (
        """
import torch
import torch.nn.functional as F
def pgd(net, x, label, epsilon, step_size, steps, noise, targeted):
    adv = (x + noise).clamp(0, 1).requires_grad_()
    for _ in range(steps):
        F.cross_entropy(net(adv), label).backward()
        with torch.no_grad():
            adv += (-1 if targeted else 1) * step_size * adv.grad.sign()
            adv.copy_(torch.max(torch.min(adv, x + epsilon), x - epsilon).clamp(0, 1))
    return adv.detach()
""",
        "gradients pile up",
    ),
    ("a3.pgd", "a step of length one"): (
        """
import torch
import torch.nn.functional as F
def pgd(net, x, label, epsilon, step_size, steps, noise, targeted):
    adv = (x + noise).clamp(0, 1)
    for _ in range(steps):
        adv = adv.detach().requires_grad_()
        F.cross_entropy(net(adv), label, reduction="sum").backward()
        g = adv.grad / adv.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        adv = adv + (-step_size if targeted else step_size) * g
        adv = torch.clamp(adv, x - epsilon, x + epsilon).clamp(0, 1)
    return adv.detach()
""",
        "divided by its length",
    ),
    ("a4.dream_step", "as large as it is"): (
        """
from course_lib.taps import Taps
def dream_step(net, layer, x, step, shift):
    y = x.roll(tuple(shift), (2, 3)).detach().requires_grad_()
    a = Taps(net, layer)(y)[layer]
    a.backward(a.detach())
    return (y + step * y.grad).clamp(0, 1).roll((-shift[0], -shift[1]), (2, 3)).detach()
""",
        "not divided by its mean size",
    ),
    ("a5.gram_matrix", "over all activations"): (
        """
import torch
def gram_matrix(a):
    n, c, h, w = a.size()
    f = a.view(n, c, h * w)
    return torch.bmm(f, f.permute(0, 2, 1)) / (c * h * w)
""",
        "all activations, c h w",
    ),
    ("a5.gram_matrix", "images as channels"): (
        """
def gram_matrix(a):
    n, c, h, w = a.size()
    f = a.view(n * c, h * w)
    return f.mm(f.t())
""",
        "each image has a matrix of its own",
    ),
    ("a5.content_energy", "the first image"): (
        """
def content_energy(a, a0):
    n, c, h, w = a.size()
    return ((a[0].view(c, h * w) - a0[0].view(c, h * w)) ** 2).sum() / 2
""",
        "only the first image counts",
    ),
    ("a5.gram_matrix", "a reshape for a transpose"): (
        """
def gram_matrix(a):
    n, c, h, w = a.shape
    f = a.reshape(n, h * w, c)
    return f.transpose(1, 2) @ f
""",
        "reshape(n, h w, c) is no transpose",
    ),
}


@pytest.mark.parametrize(("name", "how"), HANDED_IN)
def test_what_people_hand_in_is_named_in_every_part_that_fails(name, how):
    text, says = HANDED_IN[name, how]
    asked = question.question(name)
    space = {}
    exec(text, space)
    found = []
    for part, inputs, right in judge.calls(name, 5):
        answer = call(space[asked.function], inputs)
        found.append((part, inputs, right, {"error": ""} if isinstance(answer, Exception) else {"answer": answer}))
    said = diagnose.wrong_parts(asked, found)
    assert said and all("It looks as if" in one and says in one for one in said.values()), said


def test_a_right_answer_that_changes_its_arguments_is_still_compared_with_what_was_asked():
    """The grader builds the arguments of each call anew, so that no answer spoils the next one's inputs."""

    def step(x, slope, length, decay):
        slope -= 2 * decay * (x - 0.5)
        x += length * slope / slope.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
        return x.clamp_(0, 1)

    asked = question.question("a3.step")
    for _, inputs, right in judge.calls("a3.step", 5):
        before = {key: value.clone() for key, value in inputs.items() if isinstance(value, torch.Tensor)}
        assert compare.verdict(asked, call(step, inputs), inputs, right) is None
        assert all(torch.equal(inputs[key], value) for key, value in before.items())


def test_many_mistakes_were_found_in_public_solutions():
    """Of courses whose students write the same algorithms; the code is our own, so only the course is named."""
    courses = [one.seen for name in QUESTIONS for one in question.question(name).mistakes]
    assert {course for seen in courses for course in seen} == {"CS231n", "EECS 498"}
    assert sum(map(bool, courses)) >= 40
