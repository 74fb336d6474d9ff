"""The loss against plain convolutions and torchvision's VGG; the tasks' measures against other libraries."""

import argparse
import copy
import csv
from pathlib import Path

import numpy as np
import pytest
import skimage.filters
import skimage.measure
import skimage.metrics
import torch
import torch.nn.functional as F
from sklearn.metrics import jaccard_score
from torch import nn
from torchvision.models import vgg

from course_lib import models, world
from course_lib.perceptual import PerceptualLoss, pixelwise, untrained_vgg
from course_lib.perceptual.pixelwise import KINDS, TASKS
from course_lib.reproduce import perceptual as table
from course_lib.reproduce.perceptual import ARMS, SWEEP, WEIGHTS, Run
from course_lib.taps import Taps


@pytest.fixture(scope="module")
def small():
    return world.draw(24, seed=5, size=16)


def maps(generator, channels=4, n=3, size=16):
    """A prediction and a target: softmaxed maps, and one-hot ones."""
    p = torch.randn(n, channels, size, size, generator=generator).softmax(1)
    t = torch.randint(channels, (n, size, size), generator=generator)
    return p, F.one_hot(t, channels).permute(0, 3, 1, 2).float()


# --- the loss -----------------------------------------------------------------------------------------------


def test_the_loss_by_hand():
    """f(x) = 2 x, then max(2 x, 0): mean |2 p - 2 t| = mean(4, 6) and mean |max(2 p, 0) - max(2 t, 0)| = mean(4, 0)."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU())
    nn.init.constant_(net[0].weight, 2)
    p, t = torch.tensor([1.0, -1]).view(1, 1, 1, 2), torch.tensor([3.0, -4]).view(1, 1, 1, 2)
    loss = PerceptualLoss(net, ("0", "1"))
    assert {layer: float(part) for layer, part in loss.parts(p, t).items()} == {"0": 5, "1": 2}
    assert float(loss(p, t)) == 7


def test_the_loss_is_the_sum_over_plain_convolutions(generator):
    p, t = maps(generator)
    net = untrained_vgg(t, widths=(5, 7))
    by_hand, a, b = 0.0, p, t
    for name, layer in net.named_children():
        if name.startswith("conv"):
            a, b = (F.conv2d(x, layer.weight, padding=1).clamp(min=0) for x in (a, b))
        elif name.startswith("pool"):
            a, b = (x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)) for x in (a, b))
        if name in ("relu1_2", "relu2_1"):
            by_hand += float((a - b).abs().sum() / a.numel())
    assert float(PerceptualLoss(net, ("relu1_2", "relu2_1"))(p, t)) == pytest.approx(by_hand, rel=1e-5)


def test_a_prediction_that_is_right_costs_nothing(generator):
    p, t = maps(generator)
    loss = PerceptualLoss(untrained_vgg(t), ("relu1_2", "relu3_2"))
    assert float(loss(t, t)) == 0
    assert float(loss(p, t)) > 0


def test_gradients_reach_the_prediction_and_nothing_else(generator):
    p, t = maps(generator)
    loss = PerceptualLoss(untrained_vgg(t), ("relu2_2",))
    p.requires_grad_(), t.requires_grad_()
    loss(p, t).backward()
    assert p.grad is not None and p.grad.abs().sum() > 0
    assert t.grad is None


def test_the_network_stays_as_it_is(generator):
    """Weights that could be trained get no gradient, keep theirs, and are not frozen; a second backward works too."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    before = torch.rand(net[0].weight.shape, generator=generator)
    net[0].weight.grad = before.clone()
    x = torch.rand(2, 3, 8, 8, generator=generator)
    p = x.clone().requires_grad_()
    value = PerceptualLoss(net, ("1", "2"))(p, x.flip(3))
    value.backward(retain_graph=True)
    first = p.grad.clone()
    value.backward()
    assert torch.equal(p.grad, 2 * first)
    frozen = copy.deepcopy(net).requires_grad_(False)
    q = x.clone().requires_grad_()
    sum(
        (Taps(frozen, layer)(q)[layer] - Taps(frozen, layer)(x.flip(3))[layer]).abs().mean() for layer in ("1", "2")
    ).backward()
    assert torch.allclose(first, q.grad, atol=1e-7)
    assert torch.equal(net[0].weight.grad, before) and net[2].weight.grad is None
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_the_gradient_is_the_derivative(generator):
    p, t = (x.double() for x in maps(generator, channels=2, n=1, size=4))
    loss = PerceptualLoss(untrained_vgg(t, widths=(3,)), ("relu1_1", "relu1_2"))
    assert torch.autograd.gradcheck(lambda x: loss(x, t), p.requires_grad_())


def test_any_network_will_do_and_stays_as_it_is(generator, scenes):
    net = models.load("coursenet", weights="random")
    loss = PerceptualLoss(net, ("relu1", "relu3"))
    assert float(loss(scenes.images[:2], scenes.images[2:4])) > 0

    noisy = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    whole = nn.ModuleDict({"loss": PerceptualLoss(noisy, ("2",)), "other": nn.Linear(2, 2)}).train()
    assert whole["other"].training and noisy[2].training
    before = noisy[1].running_mean.clone()
    first, second = (float(whole["loss"](scenes.images[:2], scenes.images[2:4])) for _ in range(2))
    assert first == second and torch.equal(noisy[1].running_mean, before)
    assert noisy[2].training  # evaluated while it ran


def test_what_cannot_be_compared_is_said(generator):
    p, t = maps(generator)
    net = untrained_vgg(t)
    with pytest.raises(ValueError, match="no layer 'relu9_9'"):
        PerceptualLoss(net, ("relu9_9",))
    loss = PerceptualLoss(net, ("relu1_1",))
    with pytest.raises(ValueError, match="int64 differ; a map of labels is made one-hot first"):
        loss(p, t.argmax(1, keepdim=True))
    with pytest.raises(ValueError, match=r"\(3, 4, 16, 16\) float32 and target \(2, 4, 16, 16\)"):
        loss(p, t[:2])


# --- the network that never learnt --------------------------------------------------------------------------


def test_it_is_torchvisions_vgg(generator, scenes):
    """Its layers in torchvision's own builder of VGGs: blocks of two, as in VGG-13."""
    ours = untrained_vgg(scenes.images, widths=(6, 8))
    theirs = vgg.make_layers([6, 6, "M", 8, 8, "M"])
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    assert torch.allclose(ours(scenes.images), theirs(scenes.images), atol=1e-6)


def test_each_convolution_has_outputs_for_the_sample_with_deviation_one(generator, scenes):
    for sample in (scenes.images, scenes.depth, maps(generator)[1]):
        x = sample
        for name, layer in untrained_vgg(sample, widths=(8, 8, 8, 8)).named_children():
            x = layer(x)
            if name.startswith("conv"):
                assert float(x.std()) == pytest.approx(1, abs=1e-4), name


def test_a_seed_is_a_network_and_the_global_random_state_is_left_alone(scenes):
    state = torch.get_rng_state()
    first, again, other = (untrained_vgg(scenes.depth, seed=seed).conv1_1.weight for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_without_relu_it_is_linear(generator):
    x, y = (torch.randn(2, 3, 16, 16, generator=generator) for _ in range(2))
    net = untrained_vgg(x, rectified=False)
    assert torch.allclose(net(2 * x - y), 2 * net(x) - net(y), atol=1e-4)
    assert not torch.allclose(untrained_vgg(x)(-x), -untrained_vgg(x)(x), atol=1e-2)


def test_what_gives_no_network_is_said():
    with pytest.raises(ValueError, match="3 blocks need more than"):
        untrained_vgg(torch.rand(1, 3, 7, 7))
    with pytest.raises(ValueError, match="all values of the sample are the same"):
        untrained_vgg(torch.zeros(2, 1, 16, 16))


# --- tasks and their measures -------------------------------------------------------------------------------


def test_the_kinds_of_a_scene_are_what_was_drawn():
    scenes = world.draw(60, seed=8, size=32)
    truth = pixelwise.kind_maps(scenes)
    assert truth.shape == (60, len(KINDS), 32, 32)
    assert torch.equal(truth.sum(1), torch.ones(60, 32, 32))
    assert torch.equal(truth[:, KINDS.index("object")].bool(), scenes.masks[:, 0])
    ribbons = truth[:, KINDS.index("ribbon")].flatten(1).any(1)
    assert torch.equal(ribbons, scenes.factors["occluded"])
    depth = {kind: scenes.depth[:, 0][truth[:, i].bool()] for i, kind in enumerate(KINDS)}
    assert depth["ribbon"].max() < depth["object"].min() and depth["object"].max() < 0.61
    assert torch.allclose(depth["bar"], torch.tensor(0.72)) and depth["ground"].quantile(0.01) > 0.75


def test_intersection_over_union_is_scikit_learns(generator):
    p, t = maps(generator)
    expected = jaccard_score(t.argmax(1).flatten(), p.argmax(1).flatten(), average="macro")
    assert pixelwise.intersection_over_union(p, t) == pytest.approx(expected)
    three = torch.cat([p[:, :3], torch.zeros_like(p[:, 3:])], 1)  # a class that nobody has does not count
    t[:, 0], t[:, 3] = t[:, 0] + t[:, 3], 0
    expected = jaccard_score(t.argmax(1).flatten(), three.argmax(1).flatten(), average="macro")
    assert pixelwise.intersection_over_union(three, t) == pytest.approx(expected)


def test_pieces_are_scikit_images(generator):
    _, t = maps(generator)
    labels = t.argmax(1).numpy()
    counts = [skimage.measure.label(one, background=-1, connectivity=1).max() for one in labels]
    assert pixelwise.pieces(t) == pytest.approx(np.mean(counts))


def test_edges_are_scikit_images_and_a_ramp_has_one(generator):
    x = torch.rand(2, 3, 12, 12, generator=generator)
    theirs = [[skimage.filters.sobel(channel) * 2**0.5 / 2 for channel in one] for one in x.numpy()]
    ours = pixelwise._edges(x)
    ramp = torch.arange(12.0).expand(1, 1, 12, 12)
    unit = skimage.filters.sobel(ramp[0, 0].numpy())[6, 6]  # in what units they count
    assert torch.allclose(pixelwise._edges(ramp)[..., 1:-1], torch.ones(1, 1, 12, 10))
    scaled = torch.from_numpy(np.array(theirs)) * float(1 / (unit * 2**0.5 / 2))
    assert torch.allclose(ours[..., 1:-1, 1:-1], scaled[..., 1:-1, 1:-1].float(), atol=1e-5)


def test_the_edge_error_looks_at_the_border_only():
    masks = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    masks[..., 8:] = True
    wanted = masks.float()
    far, near = wanted.clone(), wanted.clone()
    far[..., 2] += 1
    near[..., 8] += 1
    assert pixelwise.edge_error(wanted, wanted, masks) == pixelwise.edge_error(far, wanted, masks) == 0
    assert pixelwise.edge_error(near, wanted, masks) > 0.1


def test_psnr_and_ssim_are_scikit_images(generator, small):
    task = TASKS["super-resolution"]
    found = (small.images + 0.05 * torch.randn(small.images.shape, generator=generator)).clamp(0, 1)
    pairs = list(zip(small.images.numpy(), found.numpy(), strict=True))
    measures = task.measures(found, small)
    psnr = [skimage.metrics.peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
    assert measures["PSNR"] == pytest.approx(np.mean(psnr), rel=1e-5)
    ssim = [skimage.metrics.structural_similarity(a, b, channel_axis=0, data_range=1) for a, b in pairs]
    assert measures["SSIM"] == pytest.approx(np.mean(ssim), rel=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_a_right_map_has_the_best_measures(name, small, generator):
    task = TASKS[name]
    wanted = task.wanted(small)
    wrong = task.structure(wanted + 0.3 * torch.randn(wanted.shape, generator=generator))
    best, worse = (task.measures(x, small) for x in (wanted, wrong))
    assert list(best) == list(task.larger)
    for measure, larger in task.larger.items():
        assert (best[measure] > worse[measure]) == larger, measure


# --- training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_learnt(name):
    task, scenes = TASKS[name], world.draw(16, seed=6, size=16)
    wanted = task.wanted(scenes)
    losses = []
    for steps in (1, 60):
        network = pixelwise.train(task, scenes, steps=steps, seed=0)
        found = pixelwise.predict(task, network, scenes)
        assert found.shape == wanted.shape and not network.training
        with torch.no_grad():
            losses.append(float(task.loss(network(task.given(scenes)), wanted)))
    assert losses[1] < 0.7 * losses[0]


def test_the_extra_loss_sees_the_structure_and_the_truth(small):
    seen = []

    def extra(prediction, target):
        seen.append((prediction.detach(), target))
        return 0 * prediction.sum()

    task = TASKS["segmentation"]
    with_it = pixelwise.train(task, small, extra=extra, weight=3.0, steps=3, seed=1)
    without = pixelwise.train(task, small, steps=3, seed=1)
    for prediction, target in seen:
        assert torch.allclose(prediction.sum(1), torch.ones(8, 16, 16), atol=1e-5)
        assert target.shape == prediction.shape and set(target.unique().tolist()) == {0, 1}
    # a loss that says nothing changes nothing: same initial weights, same batches
    assert all(torch.equal(a, b) for a, b in zip(with_it.parameters(), without.parameters(), strict=True))


def test_a_perceptual_loss_falls_when_it_is_trained_on(small):
    task = TASKS["super-resolution"]
    loss = PerceptualLoss(untrained_vgg(small.images, widths=(8, 8)), ("relu1_2", "relu2_2"))

    def left(weight):
        network = pixelwise.train(task, small, extra=loss, weight=weight, steps=60, seed=2)
        return float(loss(pixelwise.predict(task, network, small), small.images))

    assert left(5.0) < 0.98 * left(0.0)


def test_a_seed_is_a_training_and_the_global_random_state_is_left_alone(small):
    state = torch.get_rng_state()
    runs = [pixelwise.train(TASKS["depth"], small, steps=2, seed=seed).out.weight for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1]) and not torch.allclose(runs[0], runs[2])
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="steps must be at least 1"):
        pixelwise.train(TASKS["depth"], small, steps=0, seed=0)


def test_the_upscaler_starts_from_interpolation(small):
    network = pixelwise.Upscaler()
    for parameter in network.last.parameters():
        nn.init.zeros_(parameter)
    x = pixelwise.halved(small)
    assert torch.allclose(network(x), F.interpolate(x, scale_factor=2, mode="bilinear"))


# --- the table ----------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Trainings that end at once and are counted: the loss helps depth most at weight 1."""
    calls = []

    def run(self, name, arm, weight, seed):
        calls.append((name, arm, weight, seed))
        gain = 0.0 if arm == "without" else 0.02 - 0.001 * (weight - 1) ** 2
        measures = {
            measure: 0.5 + 0.01 * seed + (gain if larger else -gain) for measure, larger in TASKS[name].larger.items()
        }
        return Run(name, arm, weight, seed, measures, 1.0)

    monkeypatch.setattr(table._Bench, "run", run)
    return calls


def reproduce(*arguments):
    parser = argparse.ArgumentParser()
    tables = parser.add_subparsers()
    table.add_parsers(tables)
    tables.choices["perceptual-loss"].add_argument("--out", type=Path)  # as main does for every table
    table.run(parser.parse_args(["perceptual-loss", *map(str, arguments)]))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_pairs_the_arms_by_seed(tmp_path, quick, capsys):
    reproduce("--tasks", "depth", "--seeds", 3, "--out", tmp_path)
    table = [row for row in rows(tmp_path / "table.csv") if row["measure"] == "RMSE"]
    arms = list(ARMS["depth"])
    assert [(row["arm"], row["against"]) for row in table] == [
        (arm, against) for i, arm in enumerate(arms) for against in arms[:i] or [""]
    ]
    for row in table:
        expected = -0.02 if row["against"] == "without" else 0
        assert float(row["difference"]) == pytest.approx(expected, abs=1e-6)  # although the seeds spread by 0.01
        assert float(row["high"]) - float(row["low"]) < 1e-5 and float(row["deviation"]) == pytest.approx(0.01)
        assert float(row["weight"]) == (0 if row["arm"] == "without" else 1) and row["n"] == "3"
    assert (tmp_path / "differences.png").stat().st_size > 1000
    assert "perceptual-loss, 600 steps, 1024 scenes, 48 px" in capsys.readouterr().out


def test_the_weight_is_chosen_with_another_seed(quick, tmp_path):
    reproduce("--tasks", "segmentation", "--seeds", 2, "--out", tmp_path)
    tried = [weight for _, arm, weight, seed in quick if seed == SWEEP]
    assert tried == list(WEIGHTS)
    reported = {(arm, weight, seed) for _, arm, weight, seed in quick if seed != SWEEP}
    assert reported == {(arm, w, seed) for arm, w in (("without", 0), ("untrained VGG", 1)) for seed in (0, 1)}


def test_a_run_that_was_stopped_goes_on(tmp_path, quick):
    reproduce("--tasks", "segmentation", "--seeds", 2, "--out", tmp_path)
    path = tmp_path / "runs.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-2], lines[-2][:30]]))  # a crash lost one line and cut another
    before, table = len(quick), (tmp_path / "table.csv").read_text()
    reproduce("--tasks", "segmentation", "--seeds", 2, "--out", tmp_path)
    assert len(quick) == before + 2
    assert path.read_text().splitlines() == lines
    assert (tmp_path / "table.csv").read_text() == table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "depht"], "did you mean 'depth'"),
        (["--seeds", 1], "seeds go from 2"),
        (["--size", 18], "size is a multiple of 4"),
        (["--steps", 5], "holds perceptual-loss, 600 steps, 1024 scenes, 48 px; choose another --out"),
    ],
)
def test_bad_input_names_the_culprit(arguments, message, tmp_path, quick):
    reproduce("--tasks", "depth", "--seeds", 2, "--out", tmp_path)
    with pytest.raises(ValueError, match=message):
        reproduce(*arguments, "--out", tmp_path)


@pytest.mark.parametrize("name", TASKS)
def test_every_arm_trains_and_is_measured(name):
    bench = table._Bench(steps=2, scenes=16, size=16)
    fresh = bench.draw(20, table.TESTING)
    for arm in ARMS[name]:
        run = bench.run(name, arm, 1.0, 0)
        assert list(run.measures) == list(TASKS[name].larger) and all(np.isfinite(list(run.measures.values())))
    assert bench.draw(20, table.TESTING) is fresh
