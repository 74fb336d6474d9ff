"""Fairness: right solutions of every question, written in different ways by another hand than the reference's.

A loop, a vectorised form, numpy, automatic differentiation or a formula: each must get full marks.
"""

# ruff: noqa: E501 - lines of students
import pytest
from test_grading_right import answered

from course_lib.grading import question

# {question: {how it is written: the cell}}
SOLUTIONS = {
    "a1.pairs": {
        "slices": """
import torch
def pairs(sessions, window):
    out = []
    for s in sessions:
        for i in range(len(s)):
            for c in s[max(i - window, 0):i] + s[i + 1:i + window + 1]:
                out.append([s[i], c])
    return torch.as_tensor(out)
""",
        "a mask": """
import torch
def pairs(sessions, window):
    out = []
    for s in sessions:
        s = torch.tensor(s)
        i = torch.arange(len(s))
        gap = (i[:, None] - i[None]).abs()
        a, b = torch.where((gap > 0) & (gap <= window))
        out.append(torch.stack([s[a], s[b]], dim=1))
    return torch.cat(out)
""",
        "numpy": """
import numpy as np
def pairs(sessions, window):
    rows = []
    for s in map(np.array, sessions):
        d = np.abs(np.subtract.outer(np.arange(len(s)), np.arange(len(s))))
        rows.append(s[np.argwhere((d >= 1) & (d <= window))])
    return np.concatenate(rows)
""",
        "itertools, a list of tuples": """
from itertools import product
def pairs(sessions, window):
    return [(s[i], s[j]) for s in sessions for i, j in product(range(len(s)), repeat=2) if 1 <= abs(i - j) <= window]
""",
    },
    "a1.skip_gram_step": {
        "autograd": """
import torch
import torch.nn.functional as F
def skip_gram_step(v, u, word, neighbour, noise, rate):
    v = v.detach().clone().requires_grad_(True)
    u = u.detach().clone().requires_grad_(True)
    loss = -F.logsigmoid((v[word] * u[neighbour]).sum())
    for r in noise:
        loss = loss - F.logsigmoid(-(v[word] * u[r]).sum())
    loss.backward()
    return (v - rate * v.grad).detach(), (u - rate * u.grad).detach()
""",
        "a loop over the noise": """
import torch
def skip_gram_step(v, u, word, neighbour, noise, rate):
    a, b = v.clone(), u.clone()
    old = v[word].clone()
    g = 1 - torch.sigmoid(old @ u[neighbour])
    step = g * u[neighbour]
    b[neighbour] = b[neighbour] + rate * g * old
    for r in noise.tolist():
        h = torch.sigmoid(old @ u[r])
        step = step - h * u[r]
        b[r] = b[r] - rate * h * old
    a[word] = a[word] + rate * step
    return a, b
""",
        "numpy": """
import numpy as np
def skip_gram_step(v, u, word, neighbour, noise, rate):
    v, u, noise = v.numpy(), u.numpy(), noise.numpy()
    s = lambda t: 1 / (1 + np.exp(-t))
    gv, gu = np.zeros_like(v), np.zeros_like(u)
    e = s(v[word] @ u[neighbour]) - 1
    p = s(u[noise] @ v[word])
    gv[word] = e * u[neighbour] + p @ u[noise]
    gu[neighbour] = e * v[word]
    np.add.at(gu, noise, np.outer(p, v[word]))
    return v - rate * gv, u - rate * gu
""",
        "torch.func": """
import torch
from torch.func import grad
def skip_gram_step(v, u, word, neighbour, noise, rate):
    def loss(v, u):
        s = torch.nn.functional.softplus
        return s(-(v[word] @ u[neighbour])) + s(u[noise] @ v[word]).sum()
    gv, gu = grad(loss, argnums=(0, 1))(v, u)
    return [v - rate * gv, u - rate * gu]
""",
    },
    "a1.precision": {
        "loops": """
def precision(indices, labels):
    n, k = indices.shape
    return [sum(int(labels[indices[i, j]] == labels[i]) for j in range(k)) / k for i in range(n)]
""",
        "float mean": """
def precision(indices, labels):
    return labels[indices].eq(labels.unsqueeze(1)).float().mean(-1)
""",
        "numpy": """
import numpy as np
def precision(indices, labels):
    l = np.asarray(labels)
    return (l[np.asarray(indices)] == l[:, None]).mean(axis=1)
""",
        "gather and a sum": """
import torch
def precision(indices, labels):
    got = torch.gather(labels.expand(len(labels), -1), 1, indices)
    return torch.sum(got == labels.view(-1, 1), dim=1) / indices.size(1)
""",
    },
    "a1.conditional": {
        "a loop over rows": """
import torch
def conditional(codes, perplexity):
    n = len(codes)
    p = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        d = ((codes - codes[i]) ** 2).sum(1)
        d = torch.cat([d[:i], d[i + 1:]])
        d = d - d.min()
        lo, hi = -60.0, 60.0
        for _ in range(90):
            mid = (lo + hi) / 2
            w = torch.exp(-torch.tensor(mid, dtype=torch.float64).exp() * d)
            q = w / w.sum()
            h = -(q * torch.where(q > 0, q, 1).log()).sum()
            if h.exp() > perplexity:
                lo = mid
            else:
                hi = mid
        p[i, torch.arange(n) != i] = q
    return p
""",
        "numpy": """
import numpy as np
def conditional(codes, perplexity):
    x = codes.numpy()
    d = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.fill_diagonal(d, np.inf)
    d = d - d.min(1, keepdims=True)
    lo, hi = np.full((len(x), 1), -50.0), np.full((len(x), 1), 50.0)
    for _ in range(80):
        mid = (lo + hi) / 2
        w = np.exp(-np.exp(mid) * d)
        p = w / w.sum(1, keepdims=True)
        H = -(p * np.log(np.where(p > 0, p, 1))).sum(1, keepdims=True)
        wide = H > np.log(perplexity)
        lo, hi = np.where(wide, mid, lo), np.where(wide, hi, mid)
    return p
""",
        "doubling, then halving": """
import torch
def conditional(codes, perplexity):
    target = torch.log(torch.tensor(float(perplexity), dtype=torch.float64))
    d = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist").pow(2)
    d.fill_diagonal_(float("inf"))
    beta = 1 / d.min(1, keepdim=True).values
    lo, hi = torch.zeros_like(beta), torch.full_like(beta, float("inf"))
    for _ in range(200):
        lp = torch.log_softmax(-beta * d, 1)
        p = lp.exp()
        H = -(p * lp.masked_fill(p == 0, 0)).sum(1, keepdim=True)
        up = H > target
        lo, hi = torch.where(up, beta, lo), torch.where(up, hi, beta)
        beta = torch.where(hi.isinf(), beta * 2, (lo + hi) / 2)
    return p
""",
    },
    "a1.tsne_slope": {
        "loops": """
import torch
def tsne_slope(p, y, exaggeration):
    n = len(y)
    w = torch.zeros(n, n, dtype=y.dtype)
    for i in range(n):
        for j in range(n):
            if i != j:
                w[i, j] = 1 / (1 + ((y[i] - y[j]) ** 2).sum())
    q = w / w.sum()
    g = torch.zeros_like(y)
    for i in range(n):
        for j in range(n):
            g[i] += 4 * (exaggeration * p[i, j] - q[i, j]) * w[i, j] * (y[i] - y[j])
    return g
""",
        "einsum": """
import torch
def tsne_slope(p, y, exaggeration):
    d = y.unsqueeze(1) - y.unsqueeze(0)
    w = 1 / (1 + d.pow(2).sum(-1))
    w = w - torch.diag(torch.diag(w))
    return 4 * torch.einsum("ij,ijk->ik", (exaggeration * p - w / w.sum()) * w, d)
""",
        "a Laplacian, numpy": """
import numpy as np
def tsne_slope(p, y, exaggeration):
    p, y = np.array(p), np.array(y)
    sq = (y ** 2).sum(1)
    w = 1 / (1 + sq[:, None] + sq[None] - 2 * y @ y.T)
    np.fill_diagonal(w, 0)
    a = (exaggeration * p - w / w.sum()) * w
    return 4 * (np.diag(a.sum(1)) - a) @ y
""",
    },
    "a2.relu_rule": {
        "where": """
import torch
def relu_rule(gradient, output, rule):
    zero = torch.zeros_like(gradient)
    if rule == "gradient":
        return torch.where(output > 0, gradient, zero)
    if rule == "deconvnet":
        return torch.where(gradient > 0, gradient, zero)
    return torch.where((output > 0) & (gradient > 0), gradient, zero)
""",
        "clamp": """
def relu_rule(gradient, output, rule):
    g = gradient if rule == "gradient" else gradient.clamp(min=0)
    return g if rule == "deconvnet" else g * output.sign()
""",
        "numpy, in place": """
import numpy as np
def relu_rule(gradient, output, rule):
    g, o = gradient.numpy().copy(), output.numpy()
    if rule != "deconvnet":
        g[o <= 0] = 0
    if rule != "gradient":
        np.maximum(g, 0, out=g)
    return g
""",
        "match": """
import torch.nn.functional as F
def relu_rule(gradient, output, rule):
    match rule:
        case "gradient": return gradient.masked_fill(output == 0, 0)
        case "deconvnet": return F.relu(gradient)
        case "guided": return F.relu(gradient).masked_fill(output == 0, 0)
""",
    },
    "a2.saliency": {
        "backward": """
import torch
def saliency(net, x, label):
    x = x.clone().detach().requires_grad_(True)
    out = net(x)
    out[torch.arange(len(x)), label].sum().backward()
    return x.grad.abs().max(dim=1, keepdim=True)[0]
""",
        "an image at a time": """
import torch
def saliency(net, x, label):
    maps = []
    for i in range(len(x)):
        one = x[i:i + 1].clone().requires_grad_()
        g = torch.autograd.grad(net(one)[0, label[i]], one)[0]
        maps.append(g.abs().amax(1))
    return torch.stack(maps)
""",
        "vjp": """
import torch
import torch.nn.functional as F
def saliency(net, x, label):
    out, back = torch.func.vjp(net, x)
    (g,) = back(F.one_hot(label, out.shape[1]).to(out))
    return g.abs().amax(dim=1)[:, None]
""",
        "numpy at the end": """
import numpy as np, torch
def saliency(net, x, label):
    x.requires_grad_()
    s = sum(net(x)[i, c] for i, c in enumerate(label.tolist()))
    s.backward()
    return np.abs(x.grad.numpy()).max(axis=1, keepdims=True)
""",
    },
    "a2.occlusion": {
        "a batch": """
import torch
def occlusion(net, x, label, patch, stride):
    h, w = x.shape[-2:]
    rows, cols = list(range(0, h - patch + 1, stride)), list(range(0, w - patch + 1, stride))
    batch = x.repeat(len(rows) * len(cols), 1, 1, 1)
    n = 0
    for r in rows:
        for c in cols:
            batch[n, :, r:r + patch, c:c + patch] = 0.5
            n += 1
    with torch.no_grad():
        return torch.softmax(net(batch), 1)[:, label].reshape(len(rows), len(cols))
""",
        "masks": """
import torch
def occlusion(net, x, label, patch, stride):
    tops = range(0, x.shape[2] - patch + 1, stride)
    lefts = range(0, x.shape[3] - patch + 1, stride)
    heat = []
    for t in tops:
        row = []
        for l in lefts:
            m = torch.zeros_like(x)
            m[:, :, t:t + patch, l:l + patch] = 1
            row.append(net(x * (1 - m) + 0.5 * m).softmax(-1)[0, label].item())
        heat.append(row)
    return heat
""",
        "numpy": """
import numpy as np, torch
def occlusion(net, x, label, patch, stride):
    n = (x.shape[2] - patch) // stride + 1
    out = np.empty((n, n))
    for i, j in np.ndindex(n, n):
        a = x.numpy().copy()
        a[0, :, i * stride:i * stride + patch, j * stride:j * stride + patch] = 0.5
        z = net(torch.from_numpy(a)).detach().numpy()[0]
        e = np.exp(z - z.max())
        out[i, j] = e[label] / e.sum()
    return out
""",
        "log-softmax": """
import torch
def occlusion(net, x, label, patch, stride):
    size = [(s - patch) // stride + 1 for s in x.shape[2:]]
    heat = torch.zeros(size)
    for k in range(heat.numel()):
        i, j = divmod(k, size[1])
        y = x.detach().clone()
        y[0, :, i * stride:][:, :patch, j * stride:][:, :, :patch] = 0.5
        heat[i, j] = net(y).log_softmax(1)[0, label].exp()
    return heat
""",
    },
    "a2.integrated_gradients": {
        "a batch": """
import torch
def integrated_gradients(net, x, label, baseline, steps):
    a = (torch.arange(steps, dtype=x.dtype) + 0.5).view(-1, 1, 1, 1) / steps
    path = (baseline + a * (x - baseline)).requires_grad_()
    net(path)[:, label].sum().backward()
    return (x - baseline) * path.grad.mean(0, keepdim=True)
""",
        "linspace": """
import torch
def integrated_gradients(net, x, label, baseline, steps):
    b = torch.full_like(x, baseline)
    grads = []
    for t in torch.linspace(1 / (2 * steps), 1 - 1 / (2 * steps), steps, dtype=torch.float64):
        z = (b + t * (x - b)).requires_grad_()
        grads.append(torch.autograd.grad(net(z)[0][label], z)[0])
    return (x - b) * torch.stack(grads).mean(0)
""",
        "torch.func": """
import torch
def integrated_gradients(net, x, label, baseline, steps):
    slope = torch.func.grad(lambda z: net(z)[0, label])
    return (x - baseline) / steps * sum(slope(baseline + (2 * k + 1) / (2 * steps) * (x - baseline)) for k in range(steps))
""",
        "numpy sum": """
import numpy as np, torch
def integrated_gradients(net, x, label, baseline, steps):
    total = np.zeros(tuple(x.shape))
    for k in range(1, steps + 1):
        z = torch.tensor(baseline + (k - 0.5) / steps * (x.numpy() - baseline), requires_grad=True)
        net(z)[0, label].backward()
        total += z.grad.numpy()
    return (x.numpy() - baseline) * total / steps
""",
    },
    "a2.overlap": {
        "topk": """
import torch
def overlap(heat, mask):
    out = []
    for h, m in zip(heat, mask):
        k = int(m.sum())
        hot = torch.zeros(h.numel(), dtype=torch.bool)
        hot[h.flatten().topk(k).indices] = True
        m = m.flatten()
        out.append((hot & m).sum().item() / (hot | m).sum().item())
    return torch.tensor(out)
""",
        "a threshold": """
import torch
def overlap(heat, mask):
    scores = []
    for h, m in zip(heat, mask):
        cut = h.flatten().sort(descending=True).values[int(m.sum()) - 1]
        found = h >= cut
        scores.append((found & m).sum() / (found | m).sum())
    return torch.stack(scores)
""",
        "sets": """
def overlap(heat, mask):
    result = []
    for h, m in zip(heat.flatten(1).tolist(), mask.flatten(1).tolist()):
        truth = {i for i, on in enumerate(m) if on}
        hot = set(sorted(range(len(h)), key=lambda i: -h[i])[:len(truth)])
        result.append(len(hot & truth) / len(hot | truth))
    return result
""",
        "numpy": """
import numpy as np
def overlap(heat, mask):
    h, m = heat.numpy().reshape(len(heat), -1), mask.numpy().reshape(len(mask), -1)
    rank = (-h).argsort(1).argsort(1)
    hot = rank < m.sum(1, keepdims=True)
    return (hot & m).sum(1) / (hot | m).sum(1)
""",
    },
    "a3.step": {
        "norm": """
import torch
def step(x, slope, length, decay):
    d = slope - 2 * decay * (x - 0.5)
    n = d.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return torch.clamp(x + length * torch.where(n > 0, d / n, torch.zeros_like(d)), 0, 1)
""",
        "a loop": """
import torch
def step(x, slope, length, decay):
    out = []
    for one, g in zip(x, slope):
        d = g - 2 * decay * (one - 0.5)
        n = d.pow(2).sum().sqrt()
        out.append((one + (length * d / n if n > 0 else 0)).clip(0, 1))
    return torch.stack(out)
""",
        "numpy": """
import numpy as np
def step(x, slope, length, decay):
    x, s = x.numpy(), slope.numpy()
    d = s - 2 * decay * (x - 0.5)
    n = np.sqrt((d ** 2).sum(axis=(1, 2, 3), keepdims=True))
    return np.clip(x + length * d / np.maximum(n, 1e-12), 0, 1)
""",
    },
    "a3.jittered_slope": {
        "through the roll": """
import torch
def jittered_slope(net, x, label, shifts):
    x = x.clone().requires_grad_()
    total = 0
    for s in shifts.tolist():
        total = total + net(torch.roll(x, s, (2, 3))).gather(1, label[:, None]).sum()
    return torch.autograd.grad(total / len(shifts), x)[0]
""",
        "rolled back": """
import torch
def jittered_slope(net, x, label, shifts):
    found = []
    for a, b in shifts:
        y = torch.roll(x, (int(a), int(b)), dims=(-2, -1)).detach().requires_grad_()
        net(y)[range(len(y)), label].sum().backward()
        found.append(torch.roll(y.grad, (-int(a), -int(b)), dims=(-2, -1)))
    return sum(found) / len(found)
""",
        "numpy's roll": """
import numpy as np, torch
def jittered_slope(net, x, label, shifts):
    out = np.zeros(x.shape)
    for a, b in shifts.numpy():
        y = torch.tensor(np.roll(x.numpy(), (a, b), (2, 3)), requires_grad=True)
        score = sum(net(y)[i, int(c)] for i, c in enumerate(label))
        score.backward()
        out += np.roll(y.grad.numpy(), (-a, -b), (2, 3))
    return out / len(shifts)
""",
    },
    "a3.smooth": {
        "rfft": """
import torch
def smooth(slope, power):
    h, w = slope.shape[-2:]
    fy, fx = torch.fft.fftfreq(h, dtype=slope.dtype), torch.fft.rfftfreq(w, dtype=slope.dtype)
    f = torch.hypot(fy[:, None], fx[None]).clamp(min=1 / max(h, w))
    return torch.fft.irfft2(torch.fft.rfft2(slope) * f ** -power, s=(h, w))
""",
        "numpy": """
import numpy as np
def smooth(slope, power):
    g = slope.numpy()
    h, w = g.shape[2:]
    f = np.sqrt(np.fft.fftfreq(h)[:, None] ** 2 + np.fft.fftfreq(w)[None] ** 2)
    f = np.maximum(f, 1 / max(h, w))
    return np.fft.ifft2(np.fft.fft2(g) / f ** power).real
""",
        "an image at a time": """
import torch
def smooth(slope, power):
    h, w = slope.shape[2], slope.shape[3]
    f = torch.tensor([[(min(i, h - i) ** 2 / h ** 2 + min(j, w - j) ** 2 / w ** 2) ** 0.5 for j in range(w)] for i in range(h)])
    f[f < 1 / max(h, w)] = 1 / max(h, w)
    out = torch.empty_like(slope)
    for n in range(slope.shape[0]):
        for c in range(slope.shape[1]):
            out[n, c] = torch.real(torch.fft.ifft2(torch.fft.fft2(slope[n, c]) / f.double() ** power))
    return out
""",
    },
    "a3.fgsm": {
        "backward": """
import torch
import torch.nn.functional as F
def fgsm(net, x, label, epsilon, targeted):
    x = x.detach().clone().requires_grad_()
    F.cross_entropy(net(x), label).backward()
    way = -1 if targeted else 1
    return (x + way * epsilon * x.grad.sign()).clamp(0, 1).detach()
""",
        "numpy": """
import numpy as np, torch
def fgsm(net, x, label, epsilon, targeted):
    x.requires_grad_(True)
    loss = torch.nn.CrossEntropyLoss(reduction="sum")(net(x), label)
    if targeted:
        loss = -loss
    loss.backward()
    return np.clip(x.detach().numpy() + epsilon * np.sign(x.grad.numpy()), 0, 1)
""",
        "log-softmax, an image at a time": """
import torch
def fgsm(net, x, label, epsilon, targeted):
    out = []
    for one, y in zip(x, label):
        one = one[None].clone().requires_grad_()
        score = net(one).log_softmax(1)[0, y]
        (g,) = torch.autograd.grad(score, one)
        out.append((one + (epsilon if targeted else -epsilon) * g.sign()).clip(0, 1))
    return torch.cat(out)
""",
    },
    "a3.pgd": {
        "minimum and maximum": """
import torch
import torch.nn.functional as F
def pgd(net, x, label, epsilon, step_size, steps, noise, targeted):
    low, high = (x - epsilon).clamp(0, 1), (x + epsilon).clamp(0, 1)
    y = (x + noise).clamp(0, 1)
    for _ in range(steps):
        y = y.detach().requires_grad_()
        F.cross_entropy(net(y), label).backward()
        y = torch.min(torch.max(y + (-step_size if targeted else step_size) * y.grad.sign(), low), high)
    return y.detach()
""",
        "the change": """
import torch
def pgd(net, x, label, epsilon, step_size, steps, noise, targeted):
    d = (x + noise).clamp(0, 1) - x
    for _ in range(steps):
        d = d.detach().requires_grad_()
        loss = -net(x + d).log_softmax(1).gather(1, label[:, None]).sum()
        g = torch.autograd.grad(loss, d)[0]
        d = (d + (1 - 2 * targeted) * step_size * g.sign()).clamp(-epsilon, epsilon)
        d = (x + d).clamp(0, 1) - x
    return x + d.detach()
""",
        "numpy": """
import numpy as np, torch
def pgd(net, x, label, epsilon, step_size, steps, noise, targeted):
    x0 = x.numpy()
    y = np.clip(x0 + noise.numpy(), 0, 1)
    for _ in range(steps):
        t = torch.tensor(y, requires_grad=True)
        torch.nn.functional.cross_entropy(net(t), label).backward()
        y = np.clip(np.clip(y + (1 - 2 * targeted) * step_size * np.sign(t.grad.numpy()), x0 - epsilon, x0 + epsilon), 0, 1)
    return y
""",
    },
    "a3.fooled": {
        "Wilson's formula": """
def fooled(before, after, label):
    ok = before == label
    n = int(ok.sum())
    p = int((ok & (after != label)).sum()) / n
    z = 1.959963984540054
    mid = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return p, mid - half, mid + half
""",
        "the quadratic's roots, numpy": """
import numpy as np
def fooled(before, after, label):
    b, a, l = (t.numpy() for t in (before, after, label))
    n = (b == l).sum()
    k = ((b == l) & (a != l)).sum()
    z = 1.96
    roots = np.roots([1 + z ** 2 / n, -(2 * k / n + z ** 2 / n), (k / n) ** 2])
    return np.array([k / n, roots.min(), roots.max()])
""",
        "bisection": """
import torch
def fooled(before, after, label):
    right = before == label
    hit = (after[right] != label[right]).double()
    n, p, z = len(hit), hit.mean().item(), 1.96
    def bound(lo, hi):
        for _ in range(60):
            m = (lo + hi) / 2
            outside = (p - m) ** 2 > z ** 2 * m * (1 - m) / n
            lo, hi = (m, hi) if outside == (m < p) else (lo, m)
        return (lo + hi) / 2
    low = bound(0.0, p) if p > 0 else 0.0
    high = bound(p, 1.0) if p < 1 else 1.0
    return torch.tensor([p, low, high])
""",
    },
    "a4.code_distance": {
        "expand": """
def code_distance(a, a0):
    a0 = a0.expand_as(a)
    dims = tuple(range(1, a.dim()))
    return (a - a0).pow(2).sum(dims) / a0.pow(2).sum(dims)
""",
        "a loop": """
import torch
def code_distance(a, a0):
    out = []
    for i in range(len(a)):
        t = a0[i] if len(a0) > 1 else a0[0]
        out.append(torch.norm(a[i] - t) ** 2 / torch.norm(t) ** 2)
    return torch.stack(out)
""",
        "numpy": """
import numpy as np
def code_distance(a, a0):
    a, t = a.numpy().reshape(len(a), -1), a0.numpy().reshape(len(a0), -1)
    return ((a - t) ** 2).sum(1) / (t ** 2).sum(1)
""",
    },
    "a4.resemblance": {
        "einsum": """
import torch
def resemblance(a, a0):
    m = torch.relu(a0)
    return torch.einsum("n...,n...->n", a, m) / torch.einsum("n...,n...->n", m, m)
""",
        "a loop": """
def resemblance(a, a0):
    values = []
    for x, y in zip(a, a0):
        y = y.clip(min=0).reshape(-1)
        values.append(float(x.reshape(-1).dot(y) / y.dot(y)))
    return values
""",
        "numpy": """
import numpy as np
def resemblance(a, a0):
    m = np.maximum(a0.numpy(), 0).reshape(len(a0), -1)
    return (a.numpy().reshape(m.shape) * m).sum(1) / (m ** 2).sum(1)
""",
    },
    "a4.variation_slope": {
        "numpy": """
import numpy as np
def variation_slope(x, beta):
    x = x.numpy()
    a, b = np.zeros_like(x), np.zeros_like(x)
    a[..., :-1] = np.diff(x, axis=3)
    b[..., :-1, :] = np.diff(x, axis=2)
    s = a * a + b * b
    k = beta * np.where(s > 0, np.where(s > 0, s, 1) ** (beta / 2 - 1), 0)
    g = -(k * a) - (k * b)
    g[..., 1:] += (k * a)[..., :-1]
    g[..., 1:, :] += (k * b)[..., :-1, :]
    return g
""",
    },
    "a4.orientation_bins": {
        "a loop over directions": """
import math, torch
def orientation_bins(right, down, count):
    size, angle = torch.sqrt(right ** 2 + down ** 2), torch.atan2(down, right)
    width, out = 2 * math.pi / count, []
    for k in range(count):
        d = torch.remainder(angle - k * width + math.pi, 2 * math.pi) - math.pi
        out.append(size * (1 - d.abs() / width).clamp(min=0))
    return torch.stack(out, 1)
""",
        "scatter": """
import math, torch
def orientation_bins(right, down, count):
    t = torch.remainder(torch.atan2(down, right) / (2 * math.pi) * count, count)
    lower = t.floor()
    share = t - lower
    size = torch.hypot(right, down)
    n, h, w = right.shape
    out = torch.zeros(n, count, h, w, dtype=right.dtype)
    out.scatter_add_(1, (lower.long() % count)[:, None], ((1 - share) * size)[:, None])
    out.scatter_add_(1, ((lower.long() + 1) % count)[:, None], (share * size)[:, None])
    return out
""",
        "numpy": """
import numpy as np
def orientation_bins(right, down, count):
    z = right.numpy() + 1j * down.numpy()
    turns = np.angle(z)[:, None] * count / (2 * np.pi) - np.arange(count)[None, :, None, None]
    turns = np.abs((turns + count / 2) % count - count / 2)
    return np.abs(z)[:, None] * np.clip(1 - turns, 0, None)
""",
    },
    "a4.dream_step": {
        "a hook": """
import torch
def dream_step(net, layer, x, step, shift):
    seen = {}
    handle = dict(net.named_modules())[layer].register_forward_hook(lambda m, i, o: seen.update(a=o))
    x = x.clone().requires_grad_()
    net(torch.roll(x, tuple(shift), (2, 3)))
    handle.remove()
    (0.5 * seen["a"].pow(2).sum()).backward()
    g = x.grad
    return (x + step * g / g.abs().mean(dim=(1, 2, 3), keepdim=True)).clamp(0, 1).detach()
""",
        "layer by layer, rolled back": """
import torch
def dream_step(net, layer, x, step, shift):
    y = x.roll(list(shift), [2, 3]).requires_grad_()
    a = y
    for name, part in net.named_children():
        a = part(a)
        if name == layer:
            break
    a.backward(a.detach())
    g = y.grad.roll([-s for s in shift], [2, 3])
    out = [one + step * d / d.abs().mean() for one, d in zip(x, g)]
    return torch.stack(out).clip(0, 1)
""",
        "a piece of the network": """
import torch
def dream_step(net, layer, x, step, shift):
    names = [n for n, _ in net.named_children()]
    piece = net[:names.index(layer) + 1]
    g = torch.func.grad(lambda z: piece(z.roll(tuple(shift), (2, 3))).square().sum() / 2)(x)
    return torch.clamp(x + step * g / g.abs().flatten(1).mean(1)[:, None, None, None], 0, 1)
""",
    },
    "a4.next_octave": {
        "torchvision's words, by hand": """
import torch
def next_octave(x, dreamt, size):
    def resize(y, s):
        return torch.nn.Upsample(size=tuple(s), mode="bilinear")(y) if s[0] >= y.shape[2] and s[1] >= y.shape[3] else (
            torch.nn.functional.interpolate(y, tuple(s), mode="bilinear", antialias=True))
    h, w = dreamt.shape[2:]
    lost = x - 0
    detail = dreamt - resize(lost, (h, w))
    return (resize(x, size) + resize(detail, size)).clamp(0, 1)
""",
        "F.interpolate": """
import torch.nn.functional as F
def next_octave(x, dreamt, size):
    def to(y, s):
        return F.interpolate(y, size=tuple(s), mode="bilinear", antialias=True, align_corners=False)
    return (to(x, size) + to(dreamt - to(x, dreamt.shape[-2:]), size)).clamp(0, 1)
""",
        "linear": """
import torch
import torch.nn.functional as F
def next_octave(x, dreamt, size):
    up = lambda y: F.interpolate(y, list(size), mode="bilinear", antialias=True)
    small = F.interpolate(x, dreamt.shape[2:], mode="bilinear", antialias=True)
    return torch.clip(up(x) + up(dreamt) - up(small), 0, 1)
""",
    },
    "a5.window_distances": {
        "loops": """
import torch
def window_distances(exemplar, around, known):
    s = known.shape[0]
    c = s // 2
    w = torch.zeros(s, s, dtype=torch.float64)
    for i in range(s):
        for j in range(s):
            if known[i, j]:
                w[i, j] = torch.exp(torch.tensor(-((i - c) ** 2 + (j - c) ** 2) / (2 * (s / 6.4) ** 2)).double())
    h, wd = exemplar.shape[1:]
    out = torch.zeros(h - s + 1, wd - s + 1, dtype=torch.float64)
    for r in range(h - s + 1):
        for q in range(wd - s + 1):
            out[r, q] = (w * (exemplar[:, r:r + s, q:q + s] - around) ** 2).sum() / w.sum()
    return out
""",
        "numpy": """
import numpy as np
def window_distances(exemplar, around, known):
    e, a, k = exemplar.numpy(), around.numpy(), known.numpy()
    s = len(k)
    o = np.arange(s) - s // 2
    w = np.exp(-(o[:, None] ** 2 + o ** 2) / (2 * (s / 6.4) ** 2)) * k
    win = np.lib.stride_tricks.sliding_window_view(e, (s, s), (1, 2))
    return np.einsum("crqij,ij->rq", (win - a[:, None, None]) ** 2, w / w.sum())
""",
        "convolutions": """
import torch
import torch.nn.functional as F
def window_distances(exemplar, around, known):
    s = len(known)
    o = torch.arange(s, dtype=torch.float64) - s // 2
    w = torch.exp(-(o[:, None] ** 2 + o ** 2) / (2 * (s / 6.4) ** 2)) * known
    w = w / w.sum()
    x = exemplar[None]
    squares = F.conv2d(x ** 2, w.expand(1, 3, s, s))
    cross = F.conv2d(x, (w * around)[None])
    return (squares - 2 * cross + (w * around ** 2).sum())[0, 0]
""",
    },
    "a5.gram_matrix": {
        "einsum": """
import torch
def gram_matrix(a):
    return torch.einsum("nihw,njhw->nij", a, a)
""",
        "loops": """
def gram_matrix(a):
    n, c = a.shape[:2]
    return [[[float((a[k, i] * a[k, j]).sum()) for j in range(c)] for i in range(c)] for k in range(n)]
""",
        "bmm": """
import torch
def gram_matrix(a):
    f = a.reshape(a.shape[0], a.shape[1], -1)
    return torch.bmm(f, f.transpose(1, 2))
""",
        "numpy": """
import numpy as np
def gram_matrix(a):
    f = a.numpy().reshape(*a.shape[:2], -1)
    return f @ f.swapaxes(1, 2)
""",
    },
    "a5.texture_energy": {
        "einsum": """
import torch
def texture_energy(activations, targets, weights):
    total = 0
    for name, w in weights.items():
        def g(a):
            return torch.einsum("nihw,njhw->nij", a, a) / (a.shape[2] * a.shape[3])
        c = activations[name].shape[1]
        total = total + w * ((g(activations[name]) - g(targets[name])) ** 2).sum() / (4 * c ** 2)
    return total
""",
        "an image at a time": """
def texture_energy(activations, targets, weights):
    energy = 0.0
    for name in weights:
        b = targets[name][0].flatten(1)
        b = b @ b.T / b.shape[1]
        for one in activations[name]:
            a = one.flatten(1)
            a = a @ a.T / a.shape[1]
            energy += weights[name] * float((a - b).norm() ** 2) / (4 * len(a) ** 2)
    return energy
""",
        "numpy": """
import numpy as np
def texture_energy(activations, targets, weights):
    def gram(a):
        f = a.numpy().reshape(*a.shape[:2], -1)
        return f @ f.transpose(0, 2, 1) / f.shape[-1]
    return sum(w * np.sum((gram(activations[k]) - gram(targets[k])) ** 2) / (2 * activations[k].shape[1]) ** 2 for k, w in weights.items())
""",
    },
    "a5.gram_slope": {
        "a loop": """
import torch
def gram_slope(a, target):
    out = []
    for x, t in zip(a, target):
        f = x.reshape(x.shape[0], -1)
        c, m = f.shape
        out.append((((f @ f.T) / m - t) @ f / (c * c * m)).reshape(x.shape))
    return torch.stack(out)
""",
        "numpy": """
import numpy as np
def gram_slope(a, target):
    x, t = a.numpy(), target.numpy()
    n, c, h, w = x.shape
    f = x.reshape(n, c, h * w)
    g = np.matmul(f, f.transpose(0, 2, 1)) / (h * w) - t
    return (np.matmul(g, f) / (c ** 2 * h * w)).reshape(x.shape)
""",
    },
    "a5.keep_colour": {
        "channels": """
import torch
def keep_colour(content, styled):
    def y(z):
        return 0.299 * z[:, 0:1] + 0.587 * z[:, 1:2] + 0.114 * z[:, 2:3]
    return (content + y(styled) - y(content)).clamp(0, 1)
""",
        "einsum": """
import torch
def keep_colour(content, styled):
    w = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    d = torch.einsum("c,nchw->nhw", w, styled - content)
    return torch.clip(content + d[:, None], 0.0, 1.0)
""",
        "numpy": """
import numpy as np
def keep_colour(content, styled):
    c, s = content.numpy(), styled.numpy()
    d = np.tensordot(np.array([0.299, 0.587, 0.114]), s - c, axes=(0, 1))
    return np.clip(c + d[:, None], 0, 1)
""",
        "a convolution": """
import torch
import torch.nn.functional as F
def keep_colour(content, styled):
    k = torch.tensor([0.299, 0.587, 0.114]).to(content).view(1, 3, 1, 1)
    return torch.clamp(content - F.conv2d(content, k) + F.conv2d(styled, k), min=0, max=1)
""",
    },
    "a5.unit_variance": {
        "a running input": """
import torch
import torch.nn.functional as F
def unit_variance(weights, x):
    out = []
    for w in weights:
        y = F.conv2d(x, w, padding=(w.shape[-1] - 1) // 2)
        s = y.var().sqrt()
        out.append(w / s)
        x = (y / s).clamp(min=0)
    return out
""",
        "same padding, convolved again": """
import torch
def unit_variance(weights, x):
    new = []
    for w in weights:
        z = torch.nn.functional.conv2d(x, w, padding="same")
        w = w / torch.std(z)
        new = new + [w]
        x = torch.relu(torch.nn.functional.conv2d(x, w, padding="same"))
    return tuple(new)
""",
        "numpy deviations": """
import numpy as np
import torch.nn.functional as F
def unit_variance(weights, x):
    res = []
    for w in weights:
        y = F.conv2d(x, w, padding=w.shape[2] // 2)
        d = np.std(y.numpy(), ddof=1)
        res.append((w / d).numpy())
        x = F.relu(y / d)
    return res
""",
    },
}
CASES = [(name, how) for name, ways in SOLUTIONS.items() for how in ways]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_a_right_solution_gets_full_marks_however_it_is_written(name, how):
    result = answered(name, SOLUTIONS[name][how], [])
    assert result.points == question.question(name).points, [part.said for part in result.parts]
