"""More right solutions, so that every question has five or more, each by another way than the reference's."""

import pytest
from test_grading_fairness import SOLUTIONS as OTHERS
from test_grading_right import NEIGHBOURS, answered

from course_lib.grading import question

# {question: {how it is written: the cell}}
SOLUTIONS = {
    "a1.conditional": {
        "bisection from the mean distance, a row at a time": """
import torch
def conditional(codes, perplexity):
    n, rows = len(codes), []
    for i in range(n):
        d = (codes - codes[i]).pow(2).sum(1)
        others = [j for j in range(n) if j != i]
        d = d[others] - d[others].min()
        low, high = -60.0, 60.0
        t = -float(d[d > 0].mean().log()) if (d > 0).any() else 0.0
        for _ in range(200):
            p = torch.softmax(-d * torch.tensor(t).double().exp(), 0)
            h = float(torch.special.entr(p).sum().exp()) - perplexity
            low, high = (t, high) if h > 0 else (low, t)
            t = (low + high) / 2
        row = torch.zeros(n, dtype=torch.float64)
        row[others] = p
        rows.append(row)
    return torch.stack(rows)
""",
        "a width for beta, Python's floats": """
from math import exp, log
def conditional(codes, perplexity):
    rows = codes.tolist()
    out = []
    for i, a in enumerate(rows):
        d = [sum((x - y) ** 2 for x, y in zip(a, b)) for b in rows]
        least = min(d[:i] + d[i + 1:])
        low, high = 1e-20, 1e20
        for _ in range(200):
            sigma2 = (low * high) ** 0.5
            w = [0.0 if j == i else exp(max(-(x - least) / (2 * sigma2), -700.0)) for j, x in enumerate(d)]
            total = sum(w)
            h = -sum(v / total * log(v / total) for v in w if v > 0)
            if exp(h) > perplexity:
                high = sigma2
            else:
                low = sigma2
        out.append([v / total for v in w])
    return out
""",
    },
    "a1.tsne_slope": {
        "attraction less repulsion": """
import torch
def tsne_slope(p, y, exaggeration):
    far = torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    w = 1 / (1 + far) * (1 - torch.eye(len(y), dtype=y.dtype))
    def along(m):
        return m.sum(1, keepdim=True) * y - m @ y
    return 4 * exaggeration * along(p * w) - 4 * along(w * w) / w.sum()
""",
        "torch.func, of the divergence": """
import torch
def tsne_slope(p, y, exaggeration):
    on = p > 0
    def kl(y):
        d = (y[:, None] - y[None]).pow(2).sum(-1)
        w = (1 + d).reciprocal()
        z = w.sum() - len(y)
        return exaggeration * (p[on] * torch.log1p(d[on])).sum() + z.log()
    return torch.func.grad(kl)(y)
""",
    },
    "a3.step": {
        "vector_norm": """
import torch
def step(x, slope, length, decay):
    d = slope + decay * (1 - 2 * x)
    n = torch.linalg.vector_norm(d, dim=(1, 2, 3), keepdim=True)
    return torch.where(n == 0, x, x + length * d / n.clamp_min(1e-30)).clip(0.0, 1.0)
""",
        "F.normalize": """
import torch.nn.functional as F
def step(x, slope, length, decay):
    way = F.normalize((slope - 2 * decay * x + decay).flatten(1), dim=1)
    return (x.flatten(1) + length * way).clamp(0, 1).reshape(x.shape)
""",
    },
    "a3.jittered_slope": {
        "all shifts as one batch": """
import torch
def jittered_slope(net, x, label, shifts):
    m = len(shifts)
    x = x.detach().clone().requires_grad_()
    every = torch.cat([torch.roll(x, tuple(s), (2, 3)) for s in shifts.tolist()])
    scores = net(every)[torch.arange(m * len(x)), label.repeat(m)]
    scores.view(m, -1).mean(0).sum().backward()
    return x.grad
""",
        "torch.func, indices for a roll": """
import torch
def jittered_slope(net, x, label, shifts):
    h, w = x.shape[2:]
    def mean_score(z):
        total = 0
        for down, right in shifts.tolist():
            rows, columns = (torch.arange(h) - down) % h, (torch.arange(w) - right) % w
            total = total + (net(z[:, :, rows][..., columns]) * torch.eye(net(z).shape[1], dtype=z.dtype)[label]).sum()
        return total / len(shifts)
    return torch.func.grad(mean_score)(x)
""",
    },
    "a3.smooth": {
        "a product with two matrices": """
import math, torch
def smooth(slope, power):
    h, w = slope.shape[2:]
    def dft(n):
        k = torch.arange(n, dtype=torch.float64)
        return torch.polar(torch.ones(n, n, dtype=torch.float64), -2 * math.pi * torch.outer(k, k) / n)
    a, b = dft(h), dft(w)
    z = a @ slope.to(torch.complex128) @ b
    i, j = torch.arange(h), torch.arange(w)
    f = ((torch.minimum(i, h - i) / h)[:, None].double() ** 2 + (torch.minimum(j, w - j) / w).double() ** 2).sqrt()
    z = z / torch.maximum(f, torch.tensor(1 / max(h, w)).double()) ** power
    return (a.conj() @ z @ b.conj()).real / (h * w)
""",
        "a filter in pixels, wrapped round": """
import torch
def smooth(slope, power):
    n, c, h, w = slope.shape
    f = (torch.fft.fftfreq(h).double()[:, None] ** 2 + torch.fft.fftfreq(w).double() ** 2) ** 0.5
    kernel = torch.fft.ifft2(f.clamp(min=1 / max(h, w)) ** -power).real
    out = torch.zeros_like(slope)
    for i in range(h):
        for j in range(w):
            out += kernel[i, j] * slope.roll((i, j), (2, 3))
    return out
""",
    },
    "a3.fgsm": {
        "torch.func": """
import torch
def fgsm(net, x, label, epsilon, targeted):
    def loss(z):
        s = net(z)
        return (torch.logsumexp(s, 1) - s[torch.arange(len(s)), label]).sum()
    g = torch.func.grad(loss)(x)
    x = x - epsilon * torch.sgn(g) if targeted else x + epsilon * torch.sgn(g)
    return torch.minimum(torch.maximum(x, torch.zeros(())), torch.ones(()))
""",
        "the derivative of the loss by hand": """
import torch
import torch.nn.functional as F
def fgsm(net, x, label, epsilon, targeted):
    z = x.clone().requires_grad_()
    s = net(z)
    s.backward(s.detach().softmax(1) - F.one_hot(label, s.shape[1]))
    up = (z.grad > 0).to(x) - (z.grad < 0).to(x)
    return (x + [1, -1][int(targeted)] * epsilon * up).clip(0, 1)
""",
    },
    "a3.pgd": {
        "an image at a time": """
import torch
import torch.nn.functional as F
def pgd(net, x, label, epsilon, step_size, steps, noise):
    done = []
    for first, y, nu in zip(x[:, None], label[:, None], noise[:, None]):
        z = (first + nu).clamp(0, 1)
        for _ in range(steps):
            z = z.clone().detach().requires_grad_()
            g = torch.autograd.grad(F.nll_loss(net(z).log_softmax(1), y), z)[0]
            z = torch.clamp(z.detach() + step_size * g.sign(), min=first - epsilon, max=first + epsilon).clamp(0, 1)
        done.append(z)
    return torch.cat(done)
""",
        "in place, torch.func": """
import torch
def pgd(net, x, label, epsilon, step_size, steps, noise):
    slope = torch.func.grad(lambda z: torch.nn.functional.cross_entropy(net(z), label, reduction="sum"))
    z = x.add(noise).clamp_(0, 1)
    for _ in range(steps):
        z.add_(slope(z).sign(), alpha=step_size)
        z.sub_(x).clamp_(-epsilon, epsilon).add_(x).clamp_(0, 1)
    return z
""",
    },
    "a3.fooled": {
        "statistics' normal distribution": """
from statistics import NormalDist
def fooled(before, after, label):
    pairs = [(a, y) for b, a, y in zip(before.tolist(), after.tolist(), label.tolist()) if b == y]
    n, hits = len(pairs), sum(a != y for a, y in pairs)
    z = NormalDist().inv_cdf(0.975)
    middle = (hits + z * z / 2) / (n + z * z)
    half = z * (hits * (n - hits) / n + z * z / 4) ** 0.5 / (n + z * z)
    return [hits / n, middle - half, middle + half]
""",
        "masked means": """
import torch
def fooled(before, after, label):
    right = (before == label).double()
    n = right.sum()
    p = (right * (after != label)).sum() / n
    z2 = torch.tensor(1.96).double() ** 2
    centre = p + z2 / 2 / n
    spread = (z2 * (p * (1 - p) / n + z2 / 4 / n**2)).sqrt()
    return torch.stack([p, centre - spread, centre + spread]) / torch.stack([torch.ones(()), 1 + z2 / n, 1 + z2 / n])
""",
    },
    "a4.code_distance": {
        "einsum": """
import torch
def code_distance(a, a0):
    gap = a - a0
    return torch.einsum("n...,n...->n", gap, gap) / torch.einsum("n...,n...->n", a0, a0)
""",
        "expanded squares": """
import torch
def code_distance(a, a0):
    x, y = a.reshape(len(a), -1), a0.reshape(len(a0), -1).expand(len(a), -1)
    dot = lambda p, q: torch.linalg.vecdot(p, q)
    return (dot(x, x) - 2 * dot(x, y) + dot(y, y)) / dot(y, y)
""",
    },
    "a4.resemblance": {
        "a matrix product for each": """
import torch
def resemblance(a, a0):
    m = torch.where(a0 > 0, a0, torch.zeros_like(a0)).flatten(1)
    return torch.bmm(a.flatten(1)[:, None], m[..., None]).reshape(-1) / m.norm(dim=1).pow(2)
""",
        "Python's sums": """
def resemblance(a, a0):
    out = []
    for x, y in zip(a.flatten(1).tolist(), a0.flatten(1).tolist()):
        up = sum(p * q for p, q in zip(x, y) if q > 0)
        out.append(up / sum(q * q for q in y if q > 0))
    return out
""",
    },
    "a4.variation_slope": {
        "loops over pixels": """
import torch
def variation_slope(x, beta):
    g = torch.zeros_like(x)
    n, c, h, w = x.shape
    for i in range(h):
        for j in range(w):
            right = x[:, :, i, j + 1] - x[:, :, i, j] if j + 1 < w else torch.zeros(n, c, dtype=x.dtype)
            down = x[:, :, i + 1, j] - x[:, :, i, j] if i + 1 < h else torch.zeros(n, c, dtype=x.dtype)
            s = right ** 2 + down ** 2
            k = beta * torch.where(s > 0, s.clamp(min=1e-300) ** (beta / 2 - 1), torch.zeros_like(s))
            g[:, :, i, j] -= k * (right + down)
            if j + 1 < w:
                g[:, :, i, j + 1] += k * right
            if i + 1 < h:
                g[:, :, i + 1, j] += k * down
    return g
""",
        "a divergence": """
import torch
import torch.nn.functional as F
def variation_slope(x, beta):
    right = F.pad(x[..., 1:] - x[..., :-1], (0, 1))
    down = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    s = right.square() + down.square()
    k = torch.where(s == 0, 0, beta * s.where(s > 0, torch.ones_like(s)).pow(beta / 2 - 1))
    right, down = F.pad(k * right, (1, 0)), F.pad(k * down, (0, 0, 1, 0))
    return -right.diff(dim=3) - down.diff(dim=2)
""",
        "matrices that subtract": """
import torch
def variation_slope(x, beta):
    def d(n):
        m = torch.diag(torch.ones(n - 1), 1) - torch.eye(n)
        m[-1] = 0
        return m.to(x)
    a, b = d(x.shape[3]), d(x.shape[2])
    right, down = x @ a.T, b @ x
    s = right**2 + down**2
    k = beta * (s + (s == 0)) ** (beta / 2 - 1) * (s > 0)
    return (k * right) @ a + b.T @ (k * down)
""",
    },
    "a4.orientation_bins": {
        "the cosine's inverse": """
import math, torch
def orientation_bins(right, down, count):
    size = (right.pow(2) + down.pow(2)).sqrt()
    safe = size.where(size > 0, torch.ones_like(size))
    out = []
    for k in range(count):
        t = 2 * math.pi * k / count
        cosine = ((right * math.cos(t) + down * math.sin(t)) / safe).clamp(-1, 1)
        out.append(size * torch.clamp(1 - count / (2 * math.pi) * torch.acos(cosine), min=0))
    return torch.stack(out, dim=1)
""",
        "a pixel at a time": """
import math, torch
def orientation_bins(right, down, count):
    n, h, w = right.shape
    out = torch.zeros(n, count, h, w, dtype=right.dtype)
    for i in range(n):
        for y in range(h):
            for x in range(w):
                a, b = float(right[i, y, x]), float(down[i, y, x])
                turns = math.atan2(b, a) / (2 * math.pi) * count % count
                k = int(turns)
                out[i, k % count, y, x] += math.hypot(a, b) * (1 - (turns - k))
                out[i, (k + 1) % count, y, x] += math.hypot(a, b) * (turns - k)
    return out
""",
    },
    "a4.dream_step": {
        "the course's taps": """
import torch
from course_lib.taps import Taps
def dream_step(net, layer, x, step, shift):
    z = torch.roll(x, tuple(shift), (2, 3)).detach().requires_grad_()
    a = Taps(net, layer)(z)[layer]
    (g,) = torch.autograd.grad(a, z, grad_outputs=a.detach())
    g = torch.roll(g, (-shift[0], -shift[1]), (2, 3))
    return (x + step * g / g.abs().flatten(1).mean(1).view(-1, 1, 1, 1)).clamp(0, 1)
""",
        "vjp, an image at a time": """
import torch
def dream_step(net, layer, x, step, shift):
    def f(z):
        for name, module in net.named_children():
            z = module(z)
            if name == layer:
                return z
    out = []
    for one in x.split(1):
        a, back = torch.func.vjp(f, one.roll(tuple(shift), (2, 3)))
        (g,) = back(a)
        one = one.roll(tuple(shift), (2, 3)) + step * g / g.abs().mean()
        out.append(one.clamp(0, 1).roll((-shift[0], -shift[1]), (2, 3)))
    return torch.cat(out)
""",
    },
    "a4.next_octave": {
        "added inside": """
import torch
def next_octave(x, dreamt, size):
    resize = torch.nn.functional.interpolate
    kind = dict(mode="bilinear", antialias=True)
    added = resize(dreamt - resize(x, dreamt.shape[-2:], **kind), tuple(size), **kind)
    return torch.minimum(torch.maximum(resize(x, tuple(size), **kind) + added, torch.tensor(0.0)), torch.tensor(1.0))
""",
        "both together in one batch": """
import torch
import torch.nn.functional as F
def next_octave(x, dreamt, size):
    small = F.interpolate(x, tuple(dreamt.shape[2:]), mode="bilinear", antialias=True)
    large = F.interpolate(torch.cat([dreamt, small]), tuple(size), mode="bilinear", antialias=True)
    new, old = large.chunk(2)
    return (F.interpolate(x, tuple(size), mode="bilinear", antialias=True) + new - old).clip(0, 1)
""",
    },
    "a5.window_distances": {
        "rows of windows": """
import torch
import torch.nn.functional as F
def window_distances(exemplar, around, known):
    side = known.shape[0]
    r = torch.arange(side).double() - (side - 1) / 2
    g = torch.exp(-r**2 / (2 * (side / 6.4) ** 2))
    w = (torch.outer(g, g) * known).flatten()
    rows = F.unfold(exemplar[None], side)[0].view(3, side * side, -1)
    d = ((rows - around.reshape(3, -1, 1)) ** 2).sum(0)
    return (w @ d / w.sum()).view(exemplar.shape[1] - side + 1, -1)
""",
        "known positions alone": """
import torch
def window_distances(exemplar, around, known):
    side = len(known)
    h, w = exemplar.shape[1] - side + 1, exemplar.shape[2] - side + 1
    total, weights = torch.zeros(h, w, dtype=exemplar.dtype), 0.0
    for i, j in known.nonzero().tolist():
        g = 2.718281828459045 ** (-((i - side // 2) ** 2 + (j - side // 2) ** 2) / 2 / (side / 6.4) ** 2)
        total += g * ((exemplar[:, i:i + h, j:j + w] - around[:, i, j, None, None]) ** 2).sum(0)
        weights += g
    return total / weights
""",
    },
    "a5.texture_energy": {
        "traces": """
import torch
def texture_energy(activations, targets, weights):
    total = torch.tensor(0.0, dtype=torch.float64)
    for layer in weights:
        f, g = activations[layer].flatten(2), targets[layer].flatten(2)
        d = torch.bmm(f, f.mT) / f.shape[-1] - torch.bmm(g, g.mT).expand(len(f), -1, -1) / g.shape[-1]
        total += weights[layer] * torch.einsum("nii->", d @ d.mT) / (2 * f.shape[1]) ** 2
    return total
""",
        "a pair of channels at a time": """
def texture_energy(activations, targets, weights):
    energy = 0.0
    for layer, w in weights.items():
        a, b = activations[layer], targets[layer]
        n, c = a.shape[:2]
        for i in range(c):
            for j in range(c):
                gap = (a[:, i] * a[:, j]).mean((1, 2)) - (b[:, i] * b[:, j]).mean((1, 2))
                energy = energy + w * gap.square().sum() / (4 * c * c)
    return energy
""",
    },
    "a5.gram_slope": {
        "einsum": """
import torch
def gram_slope(a, target):
    n, c, h, w = a.shape
    d = torch.einsum("nihw,njhw->nij", a, a) / (h * w) - target
    return torch.einsum("nij,njhw->nihw", d, a) / (c * c * h * w)
""",
        "a position at a time": """
import torch
def gram_slope(a, target):
    n, c, h, w = a.shape
    gap = sum(a[:, :, i, j, None] * a[:, None, :, i, j] for i in range(h) for j in range(w)) / (h * w) - target
    g = torch.zeros_like(a)
    for i in range(h):
        for j in range(w):
            g[:, :, i, j] = (gap @ a[:, :, i, j, None])[..., 0] / (c**2 * h * w)
    return g
""",
    },
    "a5.unit_variance": {
        "the product of all deviations": """
import torch
import torch.nn.functional as F
def unit_variance(weights, x):
    found, z = [], x
    for w in weights:
        k = w.shape[-1] // 2
        z = F.conv2d(F.pad(z, (k, k, k, k)), w)
        size = (z - z.mean()).pow(2).sum().div(z.numel() - 1).sqrt()
        found.append(w / size)
        z = z.div(size).relu()
    return found
""",
        "recursion": """
import torch.nn.functional as F
def unit_variance(weights, x):
    if not weights:
        return []
    first, *others = weights
    z = F.conv2d(x, first, padding="same")
    return [first / z.std(), *unit_variance(others, (z / z.std()).clamp_min(0))]
""",
    },
}
CASES = [(name, how) for name, ways in SOLUTIONS.items() for how in ways]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_a_right_solution_gets_full_marks_however_it_is_written(name, how):
    result = answered(name, SOLUTIONS[name][how], [])
    assert result.points == question.question(name).points, [part.said for part in result.parts]


def test_every_question_has_four_right_solutions_or_more():
    ways = {"a1.neighbours": set(NEIGHBOURS)}
    for table in (OTHERS, SOLUTIONS):
        for name, found in table.items():
            ways.setdefault(name, set()).update(found)
    keys = question.keys()
    asked = {one.name for key in keys for one in question.assignment(key).questions}
    assert {name: len(found) for name, found in ways.items() if len(found) < 4} == {}
    assert set(ways) == asked
