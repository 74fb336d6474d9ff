import math
from functools import partial

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from course_lib import attribution, data, models, world
from course_lib.attribution import incremental
from course_lib.attribution.changed import Clean
from course_lib.attribution.integrated import _first_linear
from course_lib.attribution.occlusion import _boxes, _filler
from course_lib.taps import Taps


def test_gradient_agrees_with_finite_differences(generator):
    from course_lib import models

    net = models.load("coursenet").double()
    x = 0.1 + 0.8 * torch.rand(1, 3, 96, 96, dtype=torch.double, generator=generator)
    slope = attribution.gradient(net, x, 3)
    direction = torch.randn(x.shape, dtype=torch.double, generator=generator)
    step = 1e-6
    difference = (net(x + step * direction) - net(x - step * direction))[0, 3] / (2 * step)
    assert torch.isclose((slope * direction).sum(), difference, rtol=1e-4)


def test_saliency_is_the_absolute_gradient_maximised_over_colours(coursenet, scenes):
    slope = attribution.gradient(coursenet, scenes.images, scenes.labels)
    heat = attribution.saliency(coursenet, scenes.images, scenes.labels)
    assert heat.shape == (8, 1, 96, 96)
    assert torch.equal(heat[:, 0], slope.abs().max(dim=1).values)


def test_it_explains_the_logit_and_not_the_probability(coursenet, scenes):
    x = scenes.images[:1].clone().requires_grad_()
    coursenet(x)[0, 4].backward()
    assert torch.allclose(attribution.gradient(coursenet, scenes.images[:1], 4), x.grad, atol=1e-6)


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvnet"])
def test_a_batch_is_explained_as_its_pictures_alone(rule, coursenet, scenes):
    together = attribution.gradient(coursenet, scenes.images, scenes.labels, rule)
    for i in range(2):
        alone = attribution.gradient(coursenet, scenes.images[i : i + 1], int(scenes.labels[i]), rule)
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("at", [None, (5, 7)])
def test_an_inner_unit_is_explained_within_its_field(at, coursenet, scenes):
    x = scenes.images[:1].clone().requires_grad_()
    maps = Taps(coursenet, "conv2")(x)["conv2"][0, 9]
    (maps.mean() if at is None else maps[at]).backward()
    got = attribution.gradient(coursenet, scenes.images[:1], 9, layer="conv2", at=at)
    assert torch.allclose(got, x.grad, atol=1e-6)
    if at is not None:
        assert (got != 0).float().mean() < 0.15  # conv2 sees a small window


def test_input_and_network_are_left_as_they_were(coursenet, scenes):
    x = scenes.images.clone()
    attribution.saliency(coursenet, x, 0, "guided")
    assert torch.equal(x, scenes.images) and not x.requires_grad and x.grad is None
    with torch.no_grad():
        attribution.saliency(coursenet, x, 0)
    assert all(p.grad is None for p in coursenet.parameters())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label": 10}, ValueError, "no class of the output with number 10: they go from 0 to 9"),
        ({"label": -1}, ValueError, "number -1"),
        ({"label": torch.tensor([0, 1, 2])}, ValueError, "one for each of 8 images; got 3"),
        ({"label": 0.5}, TypeError, "whole number"),
        ({"rule": "smooth"}, ValueError, "no ReLU rule 'smooth'"),
        ({"layer": "conv6"}, ValueError, "no layer 'conv6'"),
        ({"x": torch.full((1, 3, 96, 96), 2.0)}, ValueError, r"lie in \[0, 1\], got \[2, 2\]"),
        ({"x": torch.full((1, 3, 96, 96), torch.nan)}, ValueError, "NaN"),
        ({"x": torch.zeros(0, 3, 96, 96)}, ValueError, "no images"),
        ({"x": torch.zeros(1, 3, 96, 96, dtype=torch.int64)}, TypeError, "float"),
    ],
)
def test_bad_input_is_refused(change, error, message, coursenet, scenes):
    arguments = {"x": scenes.images, "label": 0} | change
    with pytest.raises(error, match=message):
        attribution.saliency(coursenet, **arguments)


# ---------------------------------------------------------------- against Captum, and by hand


class Toy(nn.Module):
    """Captum's one-convolution test network: the numbers for its picture are known."""

    def __init__(self):
        super().__init__()
        self.conv1, self.relu1, self.fc1 = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Linear(8, 4)
        with torch.no_grad():
            self.conv1.weight.fill_(1)
            self.conv1.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.fc1.weight.copy_(torch.tensor([1.0, 1, 1, 1, 1, -1, -1, -1]).expand(4, 8))
            self.fc1.bias.zero_()
        self.requires_grad_(False)

    def forward(self, x):
        return F.relu(self.fc1(self.relu1(self.conv1(x)).flatten(1)))


SIXTEEN = torch.arange(16.0).view(1, 1, 4, 4)


@pytest.mark.parametrize(
    ("layer", "wanted"), [("conv1", [[11.25, 13.5], [20.25, 22.5]]), ("relu1", [[0.0, 4.0], [28.0, 32.5]])]
)
def test_grad_cam_of_the_toy_network(layer, wanted):
    heat = attribution.grad_cam(Toy(), SIXTEEN, 0, layer, upsample=False)
    assert torch.allclose(heat[0, 0], torch.tensor(wanted))


def test_gradient_of_the_toy_network():
    slope = attribution.gradient(Toy(), SIXTEEN, 0)
    assert slope[0, 0].tolist() == [[0, 1, 1, 1]] * 3 + [[0] * 4]


@pytest.fixture
def photograph():
    return data.photograph("chelsea")[..., ::2, ::2]  # 112 x 112: a quarter of the time


def near(got, wanted, tolerance=1e-5):
    return torch.allclose(got, wanted, rtol=0, atol=tolerance * max(1.0, float(wanted.abs().max())))


@pytest.mark.parametrize("layer", ["features.3", "features.9", "features.12", "features.0"])
def test_grad_cam_equals_captum(layer, squeezenet, photograph):
    wanted = captum.attr.LayerGradCam(squeezenet, squeezenet.get_submodule(layer)).attribute(
        photograph.requires_grad_(), 285
    )
    got = attribution.grad_cam(squeezenet, photograph, 285, layer, upsample=False)
    assert near(got, wanted.detach().relu())


def test_grad_cam_takes_the_last_layer_with_places_and_the_pictures_size(coursenet, scenes):
    heat = attribution.grad_cam(coursenet, scenes.images, scenes.labels)
    assert heat.shape == (8, 1, 96, 96)
    small = attribution.grad_cam(coursenet, scenes.images, scenes.labels, "pool5", upsample=False)
    wanted = F.interpolate(small, size=(96, 96), mode="bilinear", align_corners=False)
    assert torch.allclose(heat, wanted, atol=1e-6)


@pytest.mark.slow
def test_integrated_gradients_equal_captum_on_both_networks(coursenet, squeezenet, scenes, photograph):
    for net, x, label in ((coursenet, scenes.images[:3], scenes.labels[:3]), (squeezenet, photograph, 285)):
        wanted = captum.attr.IntegratedGradients(net).attribute(x, 0.0, target=label, internal_batch_size=4)
        got = attribution.integrated_gradients(net, x, label)
        assert near(got, wanted.sum(1, keepdim=True).float())


def test_integrated_gradients_without_a_linear_front_equal_captum():
    net = nn.Sequential(nn.Tanh(), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 4))
    x = SIXTEEN / 16
    wanted = captum.attr.IntegratedGradients(net).attribute(x, 0.1, target=1, n_steps=20)
    assert near(attribution.integrated_gradients(net, x, 1, 0.1, steps=20), wanted.float())


class OtherWays(nn.Module):
    """A network whose first convolution is not all that the picture meets."""

    def __init__(self, way):
        super().__init__()
        self.way, self.a, self.fc = way, nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 5)

    def forward(self, x):
        if self.way == "bent before":
            x = x.square()
        y = F.relu(self.a(x), inplace=True)  # overwrites what the first convolution answered
        y = self.a(y) if self.way == "run twice" else y + x.sin() if self.way == "passed by" else y
        return self.fc(y.square().mean((2, 3)))


@pytest.mark.parametrize("way", ["chain", "bent before", "run twice", "passed by"])
def test_integrated_gradients_hold_where_the_picture_takes_other_ways(way, generator):
    net = OtherWays(way).requires_grad_(False).double()
    x = torch.rand(1, 3, 12, 12, generator=generator, dtype=torch.float64)
    wanted = captum.attr.IntegratedGradients(net).attribute(x, 0.1, target=1, n_steps=20).sum(1, keepdim=True)
    got = attribution.integrated_gradients(net, x, 1, 0.1, steps=20)
    assert (got - wanted).abs().max() < 1e-7 * wanted.abs().max()  # Captum's steps are in single precision
    assert (_first_linear(net, x, torch.full_like(x, 0.1)) == "a") == (way == "chain")


@pytest.mark.slow
def test_integrated_gradients_are_complete(coursenet, scenes):
    x, labels = scenes.images[:2], scenes.labels[:2]
    for baseline in (0.0, x.mean((2, 3), keepdim=True)):
        heat = attribution.integrated_gradients(coursenet, x, labels, baseline, steps=200)
        start = torch.as_tensor(baseline).expand_as(x)
        rise = (coursenet(x) - coursenet(start)).gather(1, labels[:, None])[:, 0]
        assert torch.allclose(heat.sum((1, 2, 3)), rise, atol=0.05 * float(rise.abs().max()))


@pytest.mark.parametrize(("patch", "stride"), [(20, 10), (17, 9), (32, 32), (96, 1)])
def test_occlusion_equals_captum(patch, stride, coursenet, scenes):
    x, labels = scenes.images[:2], scenes.labels[:2]
    wanted = captum.attr.Occlusion(coursenet).attribute(
        x, (3, patch, patch), (3, stride, stride), baselines=0.5, target=labels, perturbations_per_eval=4
    )
    got = attribution.occlusion(coursenet, x, labels, patch, stride)
    assert near(got, wanted[:, :1].float(), 1e-4)


def test_occlusion_equals_captum_on_a_photograph_that_is_not_square(squeezenet, photograph):
    x = photograph[..., :100]
    wanted = captum.attr.Occlusion(squeezenet).attribute(x, (3, 24, 24), (3, 16, 16), baselines=0.2, target=285)
    assert near(attribution.occlusion(squeezenet, x, 285, 24, 16, 0.2), wanted[:, :1].float(), 1e-4)


def _work(run):
    """Of convolutions, on the shapes that really run (a hook is told of whole images)."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        run()
    inner = ("aten::mkldnn_convolution", "aten::_slow_conv2d_forward")
    shapes = [event.input_shapes[:2] for event in profile.events() if event.name in inner]
    assert shapes
    return sum(math.prod(x) * math.prod(weight) / x[1] for x, weight in shapes)


class Plain(nn.Module):
    """Everything that a forward pass may do to maps, on maps of odd side."""

    def __init__(self, generator):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.wide = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.each = nn.Conv2d(8, 8, 5, stride=2, groups=8)
        self.padded = nn.ZeroPad2d((1, 2, 1, 2))
        self.b, self.c = nn.Conv2d(8, 8, 1), nn.Conv2d(16, 5, 3, stride=3)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4

    def forward(self, x):
        x = F.relu(self.norm(self.a(x)), inplace=True)
        x = self.pool(x)
        x = F.relu6(x + self.wide(x)) * torch.ones(8, 1, 1)
        x = self.each(self.padded(x)).relu_()
        x = torch.cat([self.b(x), F.avg_pool2d(x, 1)], 1)
        return self.c(x).sigmoid().mean((2, 3))


@pytest.mark.parametrize("size", [(81, 81), (64, 91), (50, 50)])
@pytest.mark.parametrize(("patch", "stride"), [(8, 5), (17, 16)])
def test_windows_are_exact(patch, stride, size, generator):
    net = Plain(generator).eval().double().requires_grad_(False)
    x = torch.rand(1, 3, *size, generator=generator, dtype=torch.double)
    wanted = []
    for top, left, bottom, right in _boxes(x, patch, stride).tolist():
        covered = x.clone()
        covered[..., top:bottom, left:right] = 0.5
        wanted.append(net(covered)[0, 2])
    got = attribution.occlusion_grid(net, x, 2, patch, stride, score="logit")
    torch.testing.assert_close(got.flatten(), torch.stack(wanted), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "vgg19_features"])
def test_occlusion_equals_captum_on_networks_of_packages(name, photograph):
    net = models.load(name)
    if name == "vgg19_features":
        net = nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    x = photograph[..., 10:106, 20:116]
    wanted = captum.attr.Occlusion(net).attribute(x, (3, 24, 24), (3, 24, 24), baselines=0.5, target=285)
    assert near(attribution.occlusion(net, x, 285, 24, 24), wanted[:, :1].float(), 1e-5)


def test_the_windows_agree_with_the_whole_at_every_call(generator):
    """Where they did not, occlusion would be right nevertheless, and slow: it checks three copies."""
    net = Plain(generator).eval().double().requires_grad_(False)
    x = torch.rand(1, 3, 81, 81, generator=generator, dtype=torch.double)
    boxes = _boxes(x, 8, 5)
    cover = partial(_filler(x, 0.0, 8), 0)
    windows = incremental._in_windows(net, x, boxes, cover, Clean())
    in_full = incremental._in_full(net, x, boxes, cover)
    torch.testing.assert_close(windows, in_full, rtol=1e-9, atol=1e-9)


class Reduced(nn.Module):
    """Means over maps that a patch leaves mostly unchanged, and numbers to the left of maps."""

    def __init__(self, generator, keepdim):
        super().__init__()
        self.a, self.keepdim = nn.Conv2d(3, 6, 3, stride=2), keepdim
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4

    def forward(self, x):
        each = torch.arange(1.0, 7.0, dtype=x.dtype)[:, None, None]
        x = torch.div(each, 1 + F.relu(self.a(x)))
        return x.mean((3, 2), keepdim=self.keepdim).flatten(1)


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("size", [(41, 41), (30, 47)])
def test_means_and_numbers_to_the_left_agree_with_the_whole(size, keepdim, generator):
    net = Reduced(generator, keepdim).double().requires_grad_(False)
    x = torch.rand(1, 3, *size, generator=generator, dtype=torch.double)
    boxes = _boxes(x, 8, 5)
    cover = partial(_filler(x, 0.0, 8), 0)
    windows = incremental._in_windows(net, x, boxes, cover, Clean())
    torch.testing.assert_close(windows, incremental._in_full(net, x, boxes, cover), rtol=1e-9, atol=1e-9)


def test_the_least_that_is_allowed(coursenet, scenes):
    x = scenes.images[:1]
    one = attribution.integrated_gradients(coursenet, x, 3, steps=1)
    wanted = captum.attr.IntegratedGradients(coursenet).attribute(x, 0.0, target=3, n_steps=1)
    assert near(one, wanted.sum(1, keepdim=True).float(), 1e-4)
    double = torch.zeros(1, 3, 1, 1, dtype=torch.float64)  # a baseline of another dtype
    assert torch.equal(attribution.integrated_gradients(coursenet, x, 3, double, steps=1), one)
    small = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).requires_grad_(False)
    pixel = torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    got = attribution.occlusion(small, pixel, 1, patch=1, stride=1, fill=0.0)
    per_colour = pixel * small[1].weight[1].view(1, 3, 2, 2)  # a linear score falls by what is taken away
    assert near(got, per_colour.sum(1, keepdim=True))
    with pytest.raises(ValueError, match="quantiles rise from 0 to 1"):
        attribution.segment(x, torch.rand(1, 1, 96, 96), foreground=1.5)


def test_occlusion_computes_less_than_in_full(squeezenet, photograph):
    """The windows are used, not only right; and of the last convolution one class alone."""
    one = _work(lambda: squeezenet(photograph))
    logit = _work(lambda: attribution.occlusion(squeezenet, photograph, 285, 16, 16))
    probability = _work(lambda: attribution.occlusion_grid(squeezenet, photograph, 285, 16, 16))
    assert logit < 0.5 * 49 * one
    assert probability > 1.02 * logit


@pytest.mark.parametrize("skip", [False, True])
def test_occlusion_is_right_where_the_picture_takes_two_ways(skip, generator):
    class TwoWays(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)

        def forward(self, x):
            y = self.b(self.a(x).relu()).square().mean((2, 3))
            return self.fc(y + x.mean((1, 2, 3), keepdim=False)[:, None]) if skip else self.fc(y)

    net = TwoWays().requires_grad_(False)
    x = torch.rand(1, 3, 40, 40, generator=generator)
    wanted = captum.attr.Occlusion(net).attribute(x, (3, 8, 8), (3, 4, 4), baselines=0.5, target=2)
    assert near(attribution.occlusion(net, x, 2, 8, 4), wanted[:, :1].float(), 1e-5)


@pytest.mark.parametrize("fill", ["grey", "blur", "noise", "inpaint", 0.1, torch.zeros(3, 1, 1)])
def test_every_fill_gives_the_score_of_the_covered_picture(fill, coursenet, scenes):
    x = scenes.images[:1]
    grid = attribution.occlusion_grid(coursenet, x, 3, 24, 24, fill)
    assert grid.shape == (1, 4, 4) and 0 <= float(grid.min()) and float(grid.max()) <= 1
    if fill in ("grey", 0.1) if not isinstance(fill, torch.Tensor) else True:
        covered = x.clone()
        covered[..., 24:48, 48:72] = torch.as_tensor(0.5 if fill == "grey" else fill)
        assert torch.isclose(grid[0, 1, 2], coursenet(covered).softmax(1)[0, 3], atol=1e-5)


def test_inpainting_hides_less_than_noise(coursenet):
    """What is continued from around a small patch is nearer to the picture than noise is."""
    x = world.draw(1, seed=5).images
    box = [40, 40, 48, 48]
    away = {f: _filler(x, f, 8)(0, box) - x[0, :, 40:48, 40:48] for f in ("inpaint", "noise", "grey")}
    size = {f: float(difference.abs().mean()) for f, difference in away.items()}
    assert size["inpaint"] < min(size["noise"], size["grey"])


def test_smooth_grad_without_noise_is_saliency(coursenet, scenes):
    x, labels = scenes.images[:2], scenes.labels[:2]
    got = attribution.smooth_grad(coursenet, x, labels, noise=0.0, samples=2)
    assert near(got, attribution.saliency(coursenet, x, labels))


@pytest.mark.slow
def test_smooth_grad_is_the_mean_over_noise_as_captum_has_it(coursenet, scenes):
    """Two independent draws of the noise, so they agree only as far as means over 200 samples do."""
    x = scenes.images[:1]
    got = attribution.smooth_grad(coursenet, x, 2, samples=200, noise=0.02)
    deviation = 0.02 * float(x.max() - x.min())
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(coursenet))
    torch.manual_seed(0)
    wanted = tunnel.attribute(x, nt_samples=200, nt_samples_batch_size=10, stdevs=deviation, target=2, abs=False)
    wanted = wanted.abs().amax(1, keepdim=True)
    both = torch.stack([got.flatten(), wanted.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9
    assert 0.9 < float(got.mean() / wanted.mean()) < 1.1


def test_smooth_grad_draws_noise_as_a_share_of_the_range_of_each_image():
    class Square(nn.Module):  # its gradient is the image that it sees
        def forward(self, x):
            return (x.square() / 2).sum((1, 2, 3))[:, None]

    x = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 0.25]).view(2, 1, 1, 1)
    n = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(5))
    seen = torch.stack([one + 0.2 * (one.max() - one.min()) * n for one in x])
    got = attribution.smooth_grad(Square(), x, 0, samples=1, noise=0.2, seed=5)
    assert torch.allclose(got, seen.abs().amax(1, keepdim=True), atol=1e-6)


def test_smooth_grad_is_seeded_and_explains_a_batch_as_its_pictures(coursenet, scenes):
    x, labels = scenes.images[:2], scenes.labels[:2]
    together = attribution.smooth_grad(coursenet, x, labels, samples=2, seed=3)
    alone = attribution.smooth_grad(coursenet, x[1:], labels[1:], samples=2, seed=3)
    assert near(together[1:], alone)
    assert not torch.equal(together, attribution.smooth_grad(coursenet, x, labels, samples=2, seed=4))


# ---------------------------------------------------------------- from a map to an object


def overlap(found, truth):
    return ((found & truth).flatten(1).sum(1) / (found | truth).flatten(1).sum(1)).mean()


def test_a_map_that_points_at_the_middle_of_an_object_brings_all_of_it():
    x = torch.zeros(2, 3, 60, 60)
    x[:, :, 15:45, 10:50] = torch.tensor([0.9, 0.2, 0.1])[:, None, None]
    axis = torch.arange(60) - 29.5
    heat = -(axis**2 + axis[:, None] ** 2).expand(2, 1, -1, -1)  # a round hill
    assert overlap(attribution.segment(x, heat), x[:, :1] > 0.5) > 0.95


@pytest.mark.slow
def test_objects_are_cut_out_better_than_by_a_centred_box(coursenet):
    """Mean IoU over 60 scenes: at least 0.7 from occlusion maps; the best centred box has less than 0.3."""
    scenes = world.draw(60, seed=900)
    heat = attribution.occlusion(coursenet, scenes.images, scenes.labels, 24, 12)
    found = attribution.segment(scenes.images, gaussian_blur(heat, 9, 2.0))
    assert found.shape == (60, 1, 96, 96) and found.dtype == torch.bool
    boxes = []
    for half in range(12, 48, 4):
        box = torch.zeros_like(found)
        box[..., 48 - half : 48 + half, 48 - half : 48 + half] = True
        boxes.append(overlap(box, scenes.masks))
    assert overlap(found, scenes.masks) >= 0.7 > 0.3 > max(boxes)


def test_a_cut_is_the_same_twice_and_alone(coursenet, scenes):
    heat = attribution.saliency(coursenet, scenes.images, scenes.labels, "guided")
    together = attribution.segment(scenes.images, heat)
    assert torch.equal(together[3:4], attribution.segment(scenes.images[3:4], heat[3:4]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: attribution.occlusion(net, x, 0, 97), "a patch of 97 does not fit an image of"),
        (lambda net, x: attribution.occlusion(net, x, 0, 0), "patch of 0"),
        (lambda net, x: attribution.occlusion(net, x, 0, 16, 0), "stride goes from 1 to the patch's 16"),
        (lambda net, x: attribution.occlusion(net, x, 0, 16, 17), "stay uncovered; got 17"),
        (lambda net, x: attribution.occlusion(net, x, 0, fill="gray"), "no fill 'gray' .did you mean 'grey'"),
        (lambda net, x: attribution.occlusion(net, x, 0, score="softmax"), "no score 'softmax'"),
        (lambda net, x: attribution.occlusion(net, x, 10, 48, 48), "from 0 to 9"),
        (lambda net, x: attribution.occlusion(net, x * 255, 0), "lie in"),
        (lambda net, x: attribution.integrated_gradients(net, x, 10), "from 0 to 9"),
        (lambda net, x: attribution.integrated_gradients(net, x, torch.tensor([0, 1, 2])), "one for each of 2 images"),
        (lambda net, x: attribution.integrated_gradients(net, x, 0, steps=0), "at least 1 step"),
        (lambda net, x: attribution.smooth_grad(net, x, 0, samples=0), "at least 1 sample"),
        (lambda net, x: attribution.smooth_grad(net, x, 0, noise=-1), "at least 0"),
        (lambda net, x: attribution.smooth_grad(net, x, 0, "smooth"), "no ReLU rule"),
        (lambda net, x: attribution.grad_cam(net, x, 0, "fc7"), "'fc7' has no positions"),
        (lambda net, x: attribution.grad_cam(net, x, 0, "conv9"), "no layer 'conv9'"),
        (lambda net, x: attribution.grad_cam(net, x, -1), "number -1"),
        (lambda net, x: attribution.segment(x, torch.ones(2, 1, 96, 96)), "map 0 is flat"),
        (lambda net, x: attribution.segment(x, torch.ones(2, 1, 48, 48)), "do not fit"),
        (lambda net, x: attribution.segment(x, x[:, :1], foreground=0.2), "quantiles rise"),
        (lambda net, x: attribution.segment(x, x[:, :1], rounds=0), "1 round"),
    ],
)
def test_each_bad_argument_is_named(call, message, coursenet, scenes):
    with pytest.raises(ValueError, match=message):
        call(coursenet, scenes.images[:2])


def test_guided_is_refused_where_there_is_no_relu():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="runs no ReLU"):
        attribution.smooth_grad(net, torch.rand(1, 3, 8, 8), 0, "guided", samples=1)


def test_no_hook_survives_not_even_an_error(coursenet, scenes):
    for call in (attribution.occlusion, attribution.integrated_gradients, attribution.grad_cam):
        call(coursenet, scenes.images[:1], 0)
        with pytest.raises(ValueError):
            call(coursenet, scenes.images[:1], 99)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in coursenet.modules())


def test_grad_cam_refuses_a_network_without_positions_and_takes_one_that_ends_in_a_single_token():
    dense = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    with pytest.raises(ValueError, match="no layer with positions"):
        attribution.grad_cam(dense, torch.rand(1, 3, 8, 8), 0)
    body = [nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    single = nn.Sequential(*body, nn.Unflatten(1, (1, 5)), nn.Flatten(), nn.Linear(5, 4))
    plain = nn.Sequential(*body, single[-1])
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(attribution.grad_cam(single, x, 1), attribution.grad_cam(plain, x, 1))
