"""More right solutions, so that every question has five or more, each by another way than the reference's."""

# ruff: noqa: E501 - lines of students
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
    "a1.filter_images": {
        "a loop over images": """
import torch
def filter_images(weight):
    x = weight if weight.shape[1] == 3 else weight.reshape(-1, 1, *weight.shape[2:])
    out = []
    for one in x:
        m = one.abs().max()
        one = one / m if m > 0 else one
        out.append(((one + 1) / 2).expand(3, *one.shape[1:]))
    return torch.stack(out)
""",
        "numpy": """
import numpy as np
def filter_images(weight):
    w = weight.numpy()
    if w.shape[1] != 3:
        w = np.repeat(w.reshape(-1, 1, *w.shape[2:]), 3, axis=1)
    m = np.abs(w).max(axis=(1, 2, 3), keepdims=True)
    return np.where(m > 0, w / np.where(m > 0, m, 1), 0) / 2 + 0.5
""",
        "a norm": """
import torch
def filter_images(weight):
    n, c, h, w = weight.shape
    x = weight if c == 3 else weight.view(n * c, 1, h, w)
    m = x.flatten(1).norm(p=float("inf"), dim=1).view(-1, 1, 1, 1)
    x = torch.where(m == 0, 0, x / m.where(m > 0, torch.ones_like(m)))
    return (x * 0.5 + 0.5).repeat(1, 3 // x.shape[1], 1, 1)
""",
        "the larger of both ends": """
import torch
def filter_images(weight):
    if weight.size(1) != 3:
        weight = torch.cat([f[:, None] for f in weight])
    flat = weight.flatten(1)
    m = torch.maximum(flat.amax(1), -flat.amin(1)).clamp_min(1e-30)[:, None, None, None]
    return torch.lerp(torch.full_like(weight, 0.5), (weight / m + 1) / 2, 1.0).expand(-1, 3, -1, -1)
""",
    },
    "a1.colour_share": {
        "the rest of the colours": """
def colour_share(weight):
    rest = weight - weight.mean(1, keepdim=True)
    return rest.square().flatten(1).sum(1) / weight.square().flatten(1).sum(1)
""",
        "variances": """
import torch
def colour_share(weight):
    return 3 * weight.var(1, correction=0).sum((1, 2)) / weight.pow(2).sum((1, 2, 3))
""",
        "a projection": """
import torch
def colour_share(weight):
    grey = torch.full((3,), 3 ** -0.5).to(weight)
    along = torch.einsum("c,nchw->nhw", grey, weight)
    return 1 - along.flatten(1).norm(dim=1) ** 2 / weight.flatten(1).norm(dim=1) ** 2
""",
        "numpy": """
import numpy as np
def colour_share(weight):
    w = weight.numpy()
    return [float(1 - 3 * (f.mean(0) ** 2).sum() / (f ** 2).sum()) for f in w]
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
    "a2.rule_map": {
        "a function of one's own in place of each ReLU": """
import torch
from torch import nn
class Ruled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, rule):
        y = x.clamp(min=0)
        ctx.save_for_backward(y)
        ctx.rule = rule
        return y
    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        if ctx.rule != "gradient":
            g = g * (g > 0)
        if ctx.rule != "deconvnet":
            g = g * (y > 0)
        return g, None
def rule_map(net, x, label, rule):
    x = x.detach().clone().requires_grad_()
    y = x
    for module in net:
        y = Ruled.apply(y, rule) if isinstance(module, nn.ReLU) else module(y)
    y[torch.arange(len(y)), label].sum().backward()
    return x.grad
""",
        "forward swapped, and put back": """
import torch
from torch import nn
class Rule(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x, rule: (ctx.save_for_backward(x), setattr(ctx, "rule", rule), x.relu())[2])
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        on, up = (x > 0).to(g), (g > 0).to(g)
        return g * {"gradient": on, "deconvnet": up, "guided": on * up}[ctx.rule], None
def rule_map(net, x, label, rule):
    relus = [m for m in net.modules() if type(m) is nn.ReLU]
    for m in relus:
        m.forward = lambda z: Rule.apply(z, rule)
    try:
        z = x.clone().requires_grad_(True)
        return torch.autograd.grad((net(z) * nn.functional.one_hot(label, net(z).shape[1])).sum(), z)[0]
    finally:
        for m in relus:
            del m.forward
""",
        "a layer at a time, backwards by hand": """
import torch
from torch import nn
def rule_map(net, x, label, rule):
    values, modules = [x.detach()], list(net)
    for m in modules:
        values.append(m(values[-1]).detach())
    g = torch.zeros_like(values[-1])
    g[range(len(x)), label] = 1
    for m, before, after in zip(modules[::-1], values[-2::-1], values[::-1]):
        if isinstance(m, nn.ReLU):
            g = g if rule == "gradient" else g.clamp(min=0)
            g = g if rule == "deconvnet" else g * (after > 0)
        else:
            z = before.clone().requires_grad_()
            (g,) = torch.autograd.grad(m(z), z, g)
    return g
""",
        "hooks, an image at a time": """
import torch
from torch import nn
def rule_map(net, x, label, rule):
    def note(m, i, o):
        m.seen = o.detach()
    def change(m, gi, go):
        g = go[0]
        g = torch.where(g > 0, g, 0) if rule in ("deconvnet", "guided") else g
        return (torch.where(m.seen > 0, g, 0) if rule in ("gradient", "guided") else g,)
    handles = []
    for m in net.modules():
        if isinstance(m, nn.ReLU):
            handles += [m.register_forward_hook(note), m.register_full_backward_hook(change)]
    maps = []
    for one, y in zip(x, label.tolist()):
        z = one[None].detach().clone().requires_grad_()
        net(z)[0, y].backward()
        maps.append(z.grad)
    [h.remove() for h in handles]
    return torch.cat(maps)
""",
    },
    "a2.receptive_field": {
        "from above to below": """
def receptive_field(layers):
    first, last, jump = 0, 0, 1
    for kernel, stride, padding in layers[::-1]:
        first = first * stride - padding
        last = last * stride - padding + kernel - 1
        jump *= stride
    return last - first + 1, jump, first
""",
        "sums over products of strides": """
import math
def receptive_field(layers):
    jumps = [math.prod(s for _, s, _ in layers[:i]) for i in range(len(layers) + 1)]
    size = 1 + sum((k - 1) * j for (k, _, _), j in zip(layers, jumps))
    return [size, jumps[-1], -sum(p * j for (_, _, p), j in zip(layers, jumps))]
""",
        "recursion": """
def receptive_field(layers):
    if not layers:
        return 1, 1, 0
    size, step, start = receptive_field(layers[:-1])
    kernel, stride, padding = layers[-1]
    return size + kernel * step - step, stride * step, start - step * padding
""",
        "a tensor of whole numbers": """
import torch
def receptive_field(layers):
    now = torch.tensor([1, 1, 0])
    for k, s, p in layers:
        j = int(now[1])
        now = torch.stack([now[0] + (k - 1) * j, now[1] * s, now[2] - p * j])
    return now
""",
    },
    "a2.top_patches": {
        "amax and argmax": """
import torch
def top_patches(maps, stride, start, k):
    order = maps.amax((1, 2)).argsort(descending=True)[:k]
    at = maps[order].flatten(1).argmax(1)
    corners = torch.stack([at.div(maps.shape[2], rounding_mode="floor"), at.remainder(maps.shape[2])], dim=-1)
    return maps.amax((1, 2))[order], order, corners * stride + start
""",
        "numpy": """
import numpy as np
def top_patches(maps, stride, start, k):
    a = maps.numpy()
    best = a.max(axis=(1, 2))
    index = np.argsort(-best)[:k]
    corners = [start + stride * np.array(np.unravel_index(a[i].argmax(), a[i].shape)) for i in index]
    return best[index], index, np.stack(corners)
""",
        "a loop": """
import torch
def top_patches(maps, stride, start, k):
    found = []
    for n, one in enumerate(maps.tolist()):
        found.append(max((v, n, i, j) for i, row in enumerate(one) for j, v in enumerate(row)))
    found = sorted(found, reverse=True)[:k]
    return ([v for v, *_ in found], [n for _, n, *_ in found], [[start + stride * i, start + stride * j] for *_, i, j in found])
""",
        "rows, then columns": """
import torch
def top_patches(maps, stride, start, k):
    by_row, column = maps.max(2)
    value, row = by_row.max(1)
    value, index = torch.topk(value, k)
    row = row[index]
    return value, index, torch.stack([row, column[index, row]], 1).mul(stride).add(start)
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
    "a3.ascend": {
        "all in one function": """
import torch
def ascend(net, x, label, shifts, length, decay, power):
    m, (h, w) = len(shifts), x.shape[2:]
    f = (torch.fft.fftfreq(h).double()[:, None] ** 2 + torch.fft.rfftfreq(w).double() ** 2).sqrt()
    divisor = f.clamp(min=1 / max(h, w)) ** power
    x = x.clone()
    for k in range(m):
        z = x.detach().requires_grad_()
        score = sum(net(z.roll(tuple(s), (2, 3))).gather(1, label[:, None]).sum() for s in shifts[k].tolist())
        g = torch.autograd.grad(score / len(shifts[k]), z)[0]
        g = torch.fft.irfft2(torch.fft.rfft2(g) / divisor, s=(h, w)) - 2 * decay * (x - 0.5)
        n = g.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]
        x = (x + (m - k) / m * length * g / n).clamp(0, 1)
    return x
""",
        "lengths of a linspace": """
import torch
def direction(net, x, label, some, power, decay):
    h, w = x.shape[2:]
    z = x.detach().clone().requires_grad_()
    batch = torch.cat([torch.roll(z, tuple(s), (2, 3)) for s in some.tolist()])
    score = net(batch)[torch.arange(len(batch)), label.repeat(len(some))].sum() / len(some)
    score.backward()
    table = (torch.fft.fftfreq(h).double().view(-1, 1).square() + torch.fft.fftfreq(w).double().square()).sqrt()
    table = torch.maximum(table, torch.tensor(1 / max(h, w)).double()).pow(-power)
    return torch.fft.ifft2(torch.fft.fft2(z.grad) * table).real + decay * (1 - 2 * x)
def ascend(net, x, label, shifts, length, decay, power):
    for alpha, some in zip(torch.linspace(length, 0, len(shifts) + 1)[:-1].tolist(), shifts):
        d = torch.nn.functional.normalize(direction(net, x, label, some, power, decay).flatten(1)).view_as(x)
        x = torch.clip(x + alpha * d, 0.0, 1.0)
    return x
""",
        "an image at a time, recursion": """
import torch
def one(net, x, y, shifts, length, left, m, decay, power):
    if not left:
        return x
    some, h, w = shifts[m - left], x.shape[2], x.shape[3]
    def mean_score(z):
        return sum(net(z.roll((int(a), int(b)), (2, 3)))[0, y] for a, b in some) / len(some)
    g = torch.func.grad(mean_score)(x)
    f = torch.hypot(*torch.meshgrid(torch.fft.fftfreq(h).double(), torch.fft.fftfreq(w).double(), indexing="ij"))
    g = torch.fft.ifft2(torch.fft.fft2(g) / f.clamp_min(1 / max(h, w)) ** power).real
    d = g - 2 * decay * (x - 0.5)
    x = (x + length * left / m * d / max(float(d.norm()), 1e-12)).clamp(0, 1)
    return one(net, x, y, shifts, length, left - 1, m, decay, power)
def ascend(net, x, label, shifts, length, decay, power):
    m = len(shifts)
    rows = [one(net, x[i:i + 1], int(y), shifts, length, m, m, decay, power) for i, y in enumerate(label)]
    return torch.cat(rows)
""",
        "a while loop, numpy's transform": """
import numpy as np, torch
def ascend(net, x, label, shifts, length, decay, power):
    h, w = x.shape[-2:]
    f = np.sqrt(np.fft.fftfreq(h)[:, None] ** 2 + np.fft.fftfreq(w)[None] ** 2)
    f = np.maximum(f, 1 / max(h, w)) ** power
    y, k = x.numpy().copy(), 0
    while k < len(shifts):
        g = np.zeros_like(y)
        for a, b in shifts[k].tolist():
            z = torch.tensor(np.roll(y, (a, b), (2, 3)), requires_grad=True)
            net(z)[range(len(y)), label].sum().backward()
            g += np.roll(z.grad.numpy(), (-a, -b), (2, 3)) / len(shifts[k])
        d = np.fft.ifft2(np.fft.fft2(g) / f).real - 2 * decay * (y - 0.5)
        size = np.sqrt((d**2).sum((1, 2, 3), keepdims=True))
        y = np.clip(y + length * (1 - k / len(shifts)) * d / np.maximum(size, 1e-12), 0, 1)
        k += 1
    return y
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
def pgd(net, x, label, epsilon, step_size, steps, noise, targeted):
    done = []
    for first, y, nu in zip(x[:, None], label[:, None], noise[:, None]):
        z = (first + nu).clamp(0, 1)
        for _ in range(steps):
            z = z.clone().detach().requires_grad_()
            g = torch.autograd.grad(F.nll_loss(net(z).log_softmax(1), y), z)[0]
            z = z.detach() + (-1 if targeted else 1) * step_size * g.sign()
            z = torch.clamp(z, min=first - epsilon, max=first + epsilon).clamp(0, 1)
        done.append(z)
    return torch.cat(done)
""",
        "in place, torch.func": """
import torch
def pgd(net, x, label, epsilon, step_size, steps, noise, targeted):
    slope = torch.func.grad(lambda z: torch.nn.functional.cross_entropy(net(z), label, reduction="sum"))
    z = x.add(noise).clamp_(0, 1)
    for _ in range(steps):
        z.add_(slope(z).sign(), alpha=-step_size if targeted else step_size)
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
    "a4.invert": {
        "autograd for all": """
import torch
from course_lib.taps import Taps
def invert(net, layer, x, z, weight, steps, rate):
    see = Taps(net, layer)
    goal = see(x)[layer].detach()
    z = z.clone().requires_grad_(True)
    adam = torch.optim.Adam([z], lr=rate)
    for _ in range(steps):
        adam.zero_grad()
        y = torch.sigmoid(z)
        a = see(y)[layer]
        d = ((a - goal) ** 2).flatten(1).sum(1) / (goal**2).flatten(1).sum(1)
        rough = (y[..., 1:] - y[..., :-1]).pow(2).sum() + (y[..., 1:, :] - y[..., :-1, :]).pow(2).sum()
        (d.sum() + weight * rough).backward()
        adam.step()
    return torch.sigmoid(z).detach()
""",
        "Adam by hand": """
import torch
def invert(net, layer, x, z, weight, steps, rate):
    def f(v):
        for name, module in net.named_children():
            v = module(v)
            if name == layer:
                return v
    with torch.no_grad():
        goal = f(x)
    w, m, v = z.clone(), torch.zeros_like(z), torch.zeros_like(z)
    for t in range(1, steps + 1):
        y = w.sigmoid().detach().requires_grad_()
        d = sum((f(y) - goal)[i].square().sum() / goal[i].square().sum() for i in range(len(x)))
        (g,) = torch.autograd.grad(d + weight * sum(y.diff(dim=k).square().sum() for k in (2, 3)), y)
        g = g * y.detach() * (1 - y.detach())
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return 1 / (1 + torch.exp(-w))
""",
        "a parameter, torch.func": """
import torch
from course_lib.taps import Taps
def invert(net, layer, x, z, weight, steps, rate):
    features = Taps(net, layer)
    with torch.no_grad():
        a0 = features(x)[layer].flatten(1)
    p = torch.nn.Parameter(z.detach().clone())
    opt = torch.optim.Adam([p], rate)
    size = a0.norm(dim=1) ** 2
    for step in range(steps):
        y = p.sigmoid()
        seen = y.detach().requires_grad_()
        ((features(seen)[layer].flatten(1) - a0).norm(dim=1) ** 2 / size).sum().backward()
        lap = torch.zeros_like(seen)
        for k in (2, 3):
            e = y.detach().diff(dim=k)
            n = y.shape[k]
            lap.narrow(k, 0, n - 1).sub_(2 * e)
            lap.narrow(k, 1, n - 1).add_(2 * e)
        opt.zero_grad(set_to_none=True)
        y.backward(seen.grad + weight * lap)
        opt.step()
    return p.detach().sigmoid()
""",
        "an image at a time": """
import torch
from course_lib.taps import Taps
def one(net, layer, x, z, weight, steps, rate):
    taps = Taps(net, layer)
    goal = taps(x)[layer].detach()
    z = z.clone().requires_grad_()
    engine = torch.optim.Adam([z], lr=rate)
    for _ in range(steps):
        y = z.sigmoid()
        loss = torch.nn.functional.mse_loss(taps(y)[layer], goal, reduction="sum") / goal.pow(2).sum()
        for k in (2, 3):
            loss = loss + weight * torch.diff(y, dim=k).pow(2).sum()
        z.grad = torch.autograd.grad(loss, z)[0]
        engine.step()
    return z.sigmoid().detach()
def invert(net, layer, x, z, weight, steps, rate):
    return torch.cat([one(net, layer, a, b, weight, steps, rate) for a, b in zip(x.split(1), z.split(1))])
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
    "a5.content_energy": {
        "mse_loss": """
import torch.nn.functional as F
def content_energy(a, a0):
    return F.mse_loss(a, a0, reduction="sum") / 2
""",
        "a norm": """
def content_energy(a, a0):
    return (a - a0).norm().pow(2).mul(0.5)
""",
        "a product": """
import torch
def content_energy(a, a0):
    d = (a - a0).reshape(-1)
    return d @ d / 2
""",
        "numpy": """
import numpy as np
def content_energy(a, a0):
    return float(np.sum((a.numpy() - a0.numpy()) ** 2) / 2)
""",
    },
    "a5.total_variation": {
        "diff": """
def total_variation(x):
    return sum(x.diff(dim=k).square().sum() for k in (2, 3))
""",
        "mse_loss": """
import torch.nn.functional as F
def total_variation(x):
    t = F.mse_loss(x[:, :, 1:], x[:, :, :-1], reduction="sum")
    return t + F.mse_loss(x[:, :, :, 1:], x[:, :, :, :-1], reduction="sum")
""",
        "convolutions": """
import torch
import torch.nn.functional as F
def total_variation(x):
    one = x.reshape(-1, 1, *x.shape[2:])
    k = torch.tensor([-1.0, 1.0]).to(x)
    return F.conv2d(one, k.view(1, 1, 1, 2)).pow(2).sum() + F.conv2d(one, k.view(1, 1, 2, 1)).pow(2).sum()
""",
        "replicated borders": """
import torch.nn.functional as F
def total_variation(x):
    y = F.pad(x, (0, 1, 0, 1), mode="replicate")
    return ((y[..., :-1, 1:] - x) ** 2 + (y[..., 1:, :-1] - x) ** 2).sum()
""",
    },
    "a5.transfer": {
        "losses inside": """
import torch
from course_lib.taps import Taps
def transfer(net, content, style, deep, weights, alpha, smoothness, steps, rate):
    see = Taps(net, *{deep: 0, **weights})
    with torch.no_grad():
        keep = see(content)[deep]
        grams = {k: v.flatten(2) @ v.flatten(2).mT / v[0, 0].numel() for k, v in see(style).items() if k in weights}
    x = content.detach().clone().requires_grad_(True)
    adam = torch.optim.Adam([x], lr=rate)
    for _ in range(steps):
        adam.zero_grad()
        a = see(x)
        loss = alpha / 2 * (a[deep] - keep).pow(2).sum()
        for k, w in weights.items():
            f = a[k].flatten(2)
            loss = loss + w * (f @ f.mT / f.shape[-1] - grams[k]).pow(2).sum() / (2 * f.shape[1]) ** 2
        loss = loss + smoothness * sum(x.diff(dim=k).pow(2).sum() for k in (2, 3))
        loss.backward()
        adam.step()
        x.data = x.data.clamp(0, 1)
    return x.detach()
""",
        "an image at a time": """
import torch
from course_lib.taps import Taps
def gram(a):
    return torch.einsum("nchw,ndhw->ncd", a, a) / (a.shape[2] * a.shape[3])
def transfer(net, content, style, deep, weights, alpha, smoothness, steps, rate):
    taps = Taps(net, *dict.fromkeys([*weights, deep]))
    s = {name: gram(a).detach() for name, a in taps(style).items()}
    made = []
    for one in content.split(1):
        c = taps(one)[deep].detach()
        p = torch.nn.Parameter(one.clone())
        opt = torch.optim.Adam([p], rate)
        for _ in range(steps):
            a = taps(p)
            E = 0.5 * alpha * (a[deep] - c).square().sum()
            E = E + sum(w * (gram(a[n]) - s[n]).square().sum() / 4 / a[n].shape[1] ** 2 for n, w in weights.items())
            E = E + smoothness * ((p[..., 1:] - p[..., :-1]).square().sum() + (p[..., 1:, :] - p[..., :-1, :]).square().sum())
            p.grad = torch.autograd.grad(E, p)[0]
            opt.step()
            with torch.no_grad():
                p.clamp_(0, 1)
        made.append(p.detach())
    return torch.cat(made)
""",
        "Adam by hand": """
import torch
def run(net, x, wanted):
    found = {}
    for name, module in net.named_children():
        x = module(x)
        if name in wanted:
            found[name] = x
        if set(found) == set(wanted):
            return found
def gram(a):
    f = a.flatten(2)
    return f.matmul(f.transpose(1, 2)) / f.shape[2]
def transfer(net, content, style, deep, weights, alpha, smoothness, steps, rate):
    wanted = {deep, *weights}
    with torch.no_grad():
        c, s = run(net, content, wanted)[deep], run(net, style, wanted)
    x, m, v = content.clone(), torch.zeros_like(content), torch.zeros_like(content)
    for t in range(1, steps + 1):
        y = x.clone().requires_grad_()
        a = run(net, y, wanted)
        loss = alpha * (a[deep] - c).square().sum() / 2 + smoothness * sum(y.diff(dim=k).square().sum() for k in (2, 3))
        for k in weights:
            loss = loss + weights[k] * (gram(a[k]) - gram(s[k])).square().sum() / (4 * a[k].shape[1] ** 2)
        g = torch.autograd.grad(loss, y)[0]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = (x - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)).clip(0, 1)
    return x
""",
        "a closure": """
import torch
import torch.nn.functional as F
from course_lib.taps import Taps
def transfer(net, content, style, deep, weights, alpha, smoothness, steps, rate):
    taps = Taps(net, *dict.fromkeys((deep, *weights)))
    target, goal = taps(style), taps(content)[deep].detach()
    corr = lambda a: torch.bmm(a.flatten(2), a.flatten(2).permute(0, 2, 1)) / a.flatten(2).size(2)
    target = {k: corr(a).detach() for k, a in target.items()}
    x = content.clone().requires_grad_()
    optimizer = torch.optim.Adam(params=[x], lr=rate)
    def closure():
        optimizer.zero_grad()
        a = taps(x)
        terms = [alpha / 2 * F.mse_loss(a[deep], goal, reduction="sum")]
        for k, w in weights.items():
            have = corr(a[k])
            terms.append(w * F.mse_loss(have, target[k].expand_as(have), reduction="sum") / (4 * have.shape[1] ** 2))
        terms.append(smoothness * F.mse_loss(x[..., 1:], x[..., :-1], reduction="sum"))
        terms.append(smoothness * F.mse_loss(x[..., 1:, :], x[..., :-1, :], reduction="sum"))
        loss = torch.stack(terms).sum()
        loss.backward()
        return loss
    for _ in range(steps):
        optimizer.step(closure)
        x.data.clamp_(min=0, max=1)
    return x.detach()
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
    "a1.facets": {
        "topk of what is masked": """
import torch
def facets(codes, images, centres, nearest):
    d = torch.cdist(codes, centres)
    own = d == d.amin(1, keepdim=True)
    found = []
    for k in range(d.shape[1]):
        count = min(nearest, int(own[:, k].sum()))
        index = torch.where(own[:, k], d[:, k], torch.inf).topk(count, largest=False).indices
        found.append(images[index].sum(0) / count)
    return torch.stack(found)
""",
        "Python's lists": """
import torch
def facets(codes, images, centres, nearest):
    groups = [[] for _ in centres]
    for i, c in enumerate(codes):
        squares = [float(((c - m) ** 2).sum()) for m in centres]
        k = squares.index(min(squares))
        groups[k].append((squares[k], i))
    means = []
    for g in groups:
        rows = [i for _, i in sorted(g)[:nearest]]
        means.append(sum(images[i] for i in rows) / len(rows))
    return torch.stack(means)
""",
        "numpy": """
import numpy as np
def facets(codes, images, centres, nearest):
    c, x, m = codes.numpy(), images.numpy(), centres.numpy()
    d = np.linalg.norm(c[:, None] - m[None], axis=2)
    member = d.argmin(1)
    out = []
    for k in range(len(m)):
        order = np.argsort(d[:, k])
        out.append(x[[i for i in order if member[i] == k][:nearest]].mean(0))
    return np.stack(out)
""",
        "a matrix of weights": """
import torch
def facets(codes, images, centres, nearest):
    away = ((codes[:, None] - centres) ** 2).sum(2)
    w = torch.zeros_like(away)
    member = away.argmin(1)
    for k in range(len(centres)):
        mine = torch.nonzero(member == k).flatten()
        few = mine[torch.argsort(away[mine, k])][:nearest]
        w[few, k] = 1 / len(few)
    return (w.T @ images.flatten(1)).view(len(centres), *images.shape[1:])
""",
    },
    "a2.seeds": {
        "by ranks": """
import torch
def seeds(heat, inside, outside):
    rows = heat.flatten(1)
    rank = rows.argsort(1).argsort(1) / (rows.shape[1] - 1)
    states = 2 - 2 * (rank <= outside).long() - (rank >= inside).long()
    return states.view_as(heat)
""",
        "numpy": """
import numpy as np
def seeds(heat, inside, outside):
    out = []
    for one in heat.numpy():
        low, high = np.quantile(one, [outside, inside])
        out.append(np.where(one >= high, 1, np.where(one <= low, 0, 2)))
    return np.stack(out)
""",
        "a map at a time": """
import torch
def seeds(heat, inside, outside):
    states = []
    for one in heat:
        s = torch.ones_like(one) * 2
        s[one <= torch.quantile(one, outside)] = 0
        s[one >= torch.quantile(one, inside)] = 1
        states.append(s)
    return torch.stack(states)
""",
        "sums of masks": """
import torch
def seeds(heat, inside, outside):
    q = torch.tensor([outside, inside], dtype=heat.dtype, device=heat.device)
    low, high = heat.flatten(1).quantile(q, dim=1).view(2, -1, 1, 1, 1)
    hot, cold = (heat >= high).int(), (heat <= low).int()
    return hot + 2 * (1 - hot) * (1 - cold)
""",
    },
    "a3.code_ascent": {
        "backward": """
def code_ascent(net, generator, code, label, low, high, steps, length):
    c = code.clone()
    for _ in range(steps):
        c = c.detach().requires_grad_(True)
        s = net(generator(c))
        s[range(len(label)), label].sum().backward()
        g = c.grad / (c.grad ** 2).sum(1, keepdim=True) ** 0.5
        c = (c + length * g).detach()
        c = c.minimum(high).maximum(low)
    return c
""",
        "a code at a time": """
import torch
def code_ascent(net, generator, code, label, low, high, steps, length):
    out = []
    for c, y in zip(code.split(1), label.tolist()):
        for _ in range(steps):
            c = c.clone().requires_grad_()
            g = torch.autograd.grad(net(generator(c))[0, y], c)[0]
            c = torch.clamp(c.detach() + length * g / g.norm(), low, high)
        out.append(c)
    return torch.cat(out)
""",
        "normalize": """
import torch
import torch.nn.functional as F
def code_ascent(net, generator, code, label, low, high, steps, length):
    for k in range(steps):
        z = torch.nn.Parameter(code.clone())
        (-F.nll_loss(net(generator(z)), label, reduction="sum")).backward()
        moved = code + length * F.normalize(z.grad, dim=1)
        code = torch.where(moved < low, low, torch.where(moved > high, high, moved))
    return code
""",
        "a descent by SGD": """
import torch
def code_ascent(net, generator, code, label, low, high, steps, length):
    z = code.clone().requires_grad_()
    sgd = torch.optim.SGD([z], lr=length)
    for _ in range(steps):
        sgd.zero_grad()
        loss = -net(generator(z)).gather(1, label.unsqueeze(1)).sum()
        loss.backward()
        z.grad /= z.grad.norm(dim=1, keepdim=True)
        sgd.step()
        z.data.clamp_(low, high)
    return z.detach()
""",
    },
    "a5.perceptual_distance": {
        "l1_loss": """
import torch.nn.functional as F
def perceptual_distance(activations, targets):
    return sum(F.l1_loss(activations[k], targets[k], reduction="none").mean((1, 2, 3)) for k in activations)
""",
        "an image at a time": """
import torch
def perceptual_distance(activations, targets):
    n = len(next(iter(activations.values())))
    return torch.tensor([sum(float((a[i] - targets[k][i]).abs().mean()) for k, a in activations.items()) for i in range(n)])
""",
        "numpy": """
import numpy as np
def perceptual_distance(activations, targets):
    return np.sum([np.abs(a.numpy() - targets[k].numpy()).mean(axis=(1, 2, 3)) for k, a in activations.items()], axis=0)
""",
        "a norm over the numbers of values": """
import torch
def perceptual_distance(activations, targets):
    d = 0
    for k in targets:
        gap = (targets[k] - activations[k]).flatten(1)
        d = d + torch.linalg.vector_norm(gap, 1, dim=1) / gap.shape[1]
    return d
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
