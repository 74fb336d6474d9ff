import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import Deconvolution, GuidedBackprop, Saliency
from torch import nn

from course_lib import attribution, models
from course_lib.taps import (
    Named,
    ReceptiveField,
    Taps,
    channels_first,
    hooked,
    receptive_field,
    relu_backward,
    without_hooks,
)

SPELLINGS = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU(inplace)": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu(inplace)": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "x.relu()": lambda x: x.relu(),
    "x.relu_()": lambda x: x.relu_(),
}
# Captum's BasicModel_ConvNet_One_Conv with input arange(16): rows of the gradient at the input
ORACLE = {
    "gradient": [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]],
    "guided": [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]],
    "deconvnet": [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]],
}


class Toy(nn.Module):
    """Captum's toy network, its two ReLUs spelled as asked."""

    def __init__(self, relu):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.fc1 = nn.Linear(8, 4)
        self.relu = relu
        with torch.no_grad():
            self.conv1.weight.fill_(1)
            self.conv1.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.fc1.weight.copy_(torch.tensor([1.0, 1, 1, 1, 1, -1, -1, -1]).expand(4, 8))
            self.fc1.bias.zero_()

    def forward(self, x):
        return self.relu(self.fc1(self.relu(self.conv1(x)).view(-1, 8)))


def arange_picture():
    return torch.arange(16.0).view(1, 1, 4, 4)


@pytest.mark.parametrize("rule", ORACLE)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_rules_give_the_published_numbers_in_every_spelling(spelling, rule):
    net = Toy(SPELLINGS[spelling])
    assert net(arange_picture())[0, 0] == 54
    got = attribution.gradient(net, arange_picture(), 0, rule)
    assert got[0, 0].tolist() == ORACLE[rule]


def test_an_in_place_relu_whose_result_is_dropped_still_changes_its_input():
    with relu_backward("guided"):
        x = torch.tensor([-1.0, 2.0], requires_grad=True) * 1
        x.relu_()
    assert x.tolist() == [0, 2]


def test_forward_values_are_those_of_the_plain_network(coursenet, scenes):
    plain = coursenet(scenes.images)
    for rule in ORACLE:
        with relu_backward(rule):
            assert torch.equal(coursenet(scenes.images), plain)


@pytest.mark.parametrize("which", ["coursenet", "squeezenet"])
@pytest.mark.parametrize(
    ("rule", "peer"), [("gradient", Saliency), ("guided", GuidedBackprop), ("deconvnet", Deconvolution)]
)
# Captum says that it sets hooks; its deconvolution warns for every network
@pytest.mark.filterwarnings("ignore:Setting:UserWarning")
def test_rules_equal_captum(which, rule, peer, request, generator):
    net = request.getfixturevalue(which)
    x = torch.rand(2, 3, net.image_size, net.image_size, generator=generator)
    labels = net(x).argmax(1)
    options = {"abs": False} if peer is Saliency else {}
    theirs = peer(net).attribute(x.clone().requires_grad_(), target=labels, **options)
    ours = attribution.gradient(net, x, labels, rule)
    assert (ours - theirs).abs().max() <= 1e-5 * max(1, theirs.abs().max())


def hooks(net):
    return [m for m in net.modules() if m._forward_hooks or m._forward_pre_hooks or m._backward_hooks]


def test_nothing_remains_after_an_exception(coursenet, scenes):
    with pytest.raises(RuntimeError, match="on purpose"), relu_backward("guided"):
        coursenet(scenes.images)
        raise RuntimeError("on purpose")
    assert torch.overrides._get_current_function_mode_stack() == []
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    torch.relu(x).backward(torch.tensor([1.0, -1.0]))
    assert x.grad.tolist() == [0, -1]  # the plain derivative again


def test_the_redirected_rule_passes_what_wakes_a_silent_unit():
    x = torch.tensor([-1.0, -1.0, 2.0, 2.0], requires_grad=True)
    with relu_backward("redirected"):
        y = torch.relu(x)
    y.backward(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    assert x.grad.tolist() == [-1, 0, -1, 1]


def test_unknown_rule_is_named_with_the_choices():
    with pytest.raises(ValueError, match=r"no ReLU rule 'guidde' \(did you mean 'guided'\?\).*deconvnet"):
        relu_backward("guidde").__enter__()


def test_a_network_without_relu_is_refused(generator):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 2))
    x = torch.rand(1, 3, 8, 8, generator=generator)
    with pytest.raises(ValueError, match="runs no ReLU"):
        attribution.gradient(net, x, 0, "guided")
    assert attribution.gradient(net, x, 0).abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet1_0", "alexnet"])
def test_a_layer_is_read_off_as_long_as_the_image_suffices_for_it(name):
    """A small image may pass the layer and fail behind it; one that is too small for the layer gives no activation."""
    net = models.load(name, weights="random", initialization="torchvision")
    layer = {"squeezenet1_0": "features.5", "alexnet": "features.2"}[name]
    for side in range(7, 64, 4):
        x = torch.rand(1, 3, side, side, requires_grad=True)
        try:
            a = Taps(net, layer)(x)[layer]
        except ValueError as error:
            assert "needs images of at least" in str(error)
        else:
            assert torch.equal(a, nn.Sequential(*net.features[: int(layer[9:]) + 1])((x - net.mean) / net.std))
            assert a.requires_grad


class DeeperForLarger(nn.Module):
    """A network whose depth follows the size of its images."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)

    def forward(self, x):
        for _ in range(x.shape[-1] // 8):
            x = self.conv(x)
        return self.fc(x.mean((2, 3)))


def test_taps_that_are_used_again_follow_the_size_of_the_images(generator):
    net = DeeperForLarger()
    once, again = Taps(net, "conv"), Taps(net, "conv")
    large, small = (torch.rand(1, 3, side, side, generator=generator) for side in (24, 8))
    assert torch.equal(once(small)["conv"], net.conv(small))
    assert torch.equal(once(large)["conv"], net.conv(net.conv(net.conv(large))))
    assert torch.equal(again(large)["conv"], net.conv(net.conv(net.conv(large))))
    assert torch.equal(again(small)["conv"], net.conv(small))


class Turned(nn.Module):
    """Maps with their channels last, as in ConvNeXt and Swin, and then with columns before rows."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.turned = nn.Conv2d(3, 5, 3, padding=1), nn.LayerNorm(5), nn.Identity()
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.norm(self.conv(x).permute(0, 2, 3, 1))  # (n, h, w, c)
        return self.fc(self.turned(x.transpose(1, 2)).mean((1, 2)))


def test_maps_come_with_their_channels_first(generator):
    net, x = Turned(), torch.rand(2, 3, 6, 9, generator=generator)
    maps = net.norm(net.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    taps = Taps(net, "conv", "norm", "turned", "fc")
    found = taps(x)
    assert torch.equal(found["conv"], net.conv(x)) and torch.equal(found["fc"], net(x))
    assert torch.equal(found["norm"], maps) and torch.equal(found["turned"], maps)
    assert taps.positions(x) == {"conv": (-2, -1), "norm": (-3, -2), "turned": (-2, -3), "fc": None}


REGROUPED = {
    "tokens on a grid": lambda x, a: a(x).flatten(2).mT.unflatten(1, (6, 9)),  # (n, h, w, c)
    "rows apart": lambda x, a: torch.stack(a(x).flatten(2).split(9, -1), 1),  # (n, h, c, w)
}


@pytest.mark.parametrize(("how", "shape"), [("tokens on a grid", "6, 9, 10"), ("rows apart", "6, 10, 9")])
def test_positions_that_cannot_be_told_from_channels_are_refused(how, shape, generator):
    x = torch.rand(1, 3, 6, 9, generator=generator)
    message = rf"layer 'end' outputs \(1, {shape}\), and which .* cannot be followed; choose the layer after it"
    with pytest.raises(ValueError, match=message):
        Taps(Toys(REGROUPED[how], conv(3, outputs=10, padding=1)), "end")(x)


def test_regrouped_positions_are_the_last_two_where_nothing_else_looks_like_them(generator):
    x = torch.rand(1, 12, 6, 9, generator=generator)
    net = Toys(lambda x: x.flatten(1)[:, :450].view(-1, 5, 9, 10))  # 5 x 9 is off the proportions of 6 x 9 by a row
    assert torch.equal(Taps(net, "end")(x)["end"], net(x))


def test_what_needs_no_turning_is_not_touched():
    a = torch.rand(2, 3, 4, 5)
    assert channels_first(a, (-2, -1)) is a and channels_first(a, None) is a
    assert channels_first(a, (-3, -2)).shape == (2, 5, 3, 4)


@pytest.mark.parametrize("upsampling", [lambda x, a: F.interpolate(a(x), scale_factor=2), lambda x, a: a(x).roll(1, 2)])
def test_layers_without_a_receptive_field_are_tapped_all_the_same(upsampling, generator):
    net, x = Toys(upsampling, conv(3)), torch.rand(1, 3, 6, 9, generator=generator)
    assert torch.equal(Taps(net, "end")(x)["end"], net(x))


def test_an_overwritten_layer_beside_the_output(generator):
    net, x = nn.Sequential(conv(3), nn.ReLU(inplace=True)), torch.rand(1, 3, 6, 6, generator=generator)
    found = Taps(net, "0", "")(x)
    assert torch.equal(found["0"], net[0](x)) and torch.equal(found[""], net[0](x).relu())


def test_an_image_may_be_too_small_for_what_lies_behind_the_layer(generator):
    net, x = nn.Sequential(conv(3), conv(5, 4)), torch.rand(1, 3, 5, 5, generator=generator)
    assert torch.equal(Taps(net, "0")(x)["0"], net[0](x))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        Taps(net, "1")(x)


def test_only_tensors_are_images(coursenet):
    with pytest.raises(TypeError, match=r"images are a torch tensor \(n, 3, h, w\), got ndarray"):
        Taps(coursenet, "conv1")(np.zeros((1, 3, 96, 96)))


def test_taps_of_further_layers(coursenet):
    taps = Taps(coursenet, "conv3")
    more = taps.with_layers("conv1", "conv3")
    assert more.net is coursenet and more.layers == ("conv3", "conv1") and taps.layers == ("conv3",)
    assert taps.with_layers("conv3") is taps
    assert (named := Named()).with_layers("conv1") is named


def test_a_hook_hears_its_own_thread_alone(generator):
    net, x = nn.Sequential(conv(3), nn.ReLU()), torch.rand(1, 3, 6, 6, generator=generator)
    heard = []
    with hooked(net, "0", heard.append):
        other = threading.Thread(target=net, args=(x,))
        other.start()
        other.join()
        assert heard == []
        net(x)
    net(x)
    assert len(heard) == 1 and torch.equal(heard[0], net[0](x))


def test_a_hook_may_replace_an_output(generator):
    net, x = nn.Sequential(conv(3), nn.ReLU()), torch.rand(1, 3, 6, 6, generator=generator)
    with hooked(net, "0", lambda a: a - 1):
        got = net(x)
    assert torch.equal(got, (net[0](x) - 1).relu())


def test_hooks_are_deaf_for_a_while(generator):
    net, x = nn.Sequential(conv(3), nn.ReLU()), torch.rand(1, 3, 6, 6, generator=generator)
    heard = []
    with hooked(net, "0", heard.append):
        with pytest.raises(RuntimeError, match="on purpose"), without_hooks():
            net(x)
            raise RuntimeError("on purpose")
        assert heard == []
        net(x)
    assert len(heard) == 1


def test_layers_that_output_more_than_a_tensor(generator):
    class Reads(nn.Module):  # rows of an image as a sequence, through a recurrent and an attention layer
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(24, 6, batch_first=True)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.fc = nn.Linear(6, 4)

        def forward(self, x):
            rows = x.transpose(1, 2).flatten(2)  # (n, h, 3 w)
            rows, _ = self.gru(rows)
            rows, _ = self.attention(rows, rows, rows)
            return self.fc(rows.mean(1))

    net, x = Reads(), torch.rand(2, 3, 8, 8, generator=generator)
    found = Taps(net, "gru", "attention", "fc")(x)
    assert found["gru"].shape == found["attention"].shape == (2, 8, 6)
    with pytest.raises(ValueError, match=r"layer 'gru' outputs \(2, 8, 6\), neither \(n, c\) nor \(n, c, h, w\)"):
        attribution.gradient(net, x, 1, layer="gru")

    class Says(nn.Module):
        def forward(self, x):
            return "a word"

    with pytest.raises(TypeError, match="layer '0' outputs str without a tensor"):
        Taps(nn.Sequential(Says(), nn.Identity()), "0")(x)


def test_a_first_convolution_may_be_depthwise():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 4, 5, stride=2))
    assert receptive_field(net, "1", 32) == ReceptiveField(7, 2, 0)


class Activated(nn.Module):
    """A ReLU, then another activation function on the image's path."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.function, self.fc = nn.Conv2d(3, 4, 3), function, nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.function(F.relu(self.conv(x))).mean((2, 3)))


WITHOUT_A_RULE = {
    "gelu": F.gelu,
    "silu": nn.SiLU(),
    "hardswish": nn.Hardswish(),
    "leaky_relu": nn.LeakyReLU(),
    "sigmoid": torch.sigmoid,
    "clamp": lambda x: x.clamp(max=1),
    "threshold": nn.Threshold(0.1, 0.0),
    "where": lambda x: torch.where(x > 0.1, x, 0.0),
    "maximum": lambda x: torch.maximum(x, torch.tensor(0.1)),
}


@pytest.mark.parametrize("name", list(WITHOUT_A_RULE))
@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
def test_an_activation_function_without_a_rule_is_refused_by_name(name, rule, generator):
    net, x = Activated(WITHOUT_A_RULE[name]), torch.rand(1, 3, 8, 8, generator=generator)
    with pytest.raises(ValueError, match=f"passes through {name}"):
        attribution.gradient(net, x, 0, rule)
    assert attribution.gradient(net, x, 0).shape == x.shape


def test_what_only_the_weights_pass_through_needs_no_rule(generator):
    class Scaled(nn.Module):  # as in SwinV2, whose ReLUs and clamps act on parameters
        def __init__(self):
            super().__init__()
            self.conv, self.scale, self.fc = nn.Conv2d(3, 4, 3), nn.Parameter(torch.tensor(2.0)), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc((self.conv(x).relu() * self.scale.clamp(max=1).sigmoid()).mean((2, 3)))

    net, x = Scaled(), torch.rand(1, 3, 8, 8, generator=generator)
    assert attribution.gradient(net, x, 0, "guided").shape == x.shape
    swin = torchvision.models.swin_v2_t(weights=None).eval()
    with pytest.raises(ValueError, match="passes through gelu"):
        attribution.gradient(swin, torch.rand(1, 3, 64, 64, generator=generator), 3, "guided")


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (nn.ReLU6(), 0, 6),
        (nn.ReLU6(inplace=True), 0, 6),
        (F.relu6, 0, 6),
        (nn.Hardtanh(), -1, 1),
        (F.hardtanh, -1, 1),
        (nn.Hardtanh(0.5, 2.0, inplace=True), 0.5, 2),
        (lambda x: F.hardtanh(x, 0.0, 3.0), 0, 3),
    ],
)
@pytest.mark.parametrize("rule", ["guided", "deconvnet", "redirected"])
def test_relu6_and_hardtanh_follow_the_rules(function, low, high, rule, generator):
    x = (8 * torch.randn(500, generator=generator)).requires_grad_()
    g = torch.randn(500, generator=generator)
    with relu_backward(rule) as ruled:
        y = function(x * 1.0)
    assert ruled.count == 1 and torch.equal(y, x.detach().clamp(low, high))
    y.backward(g)
    inside, positive = (low < y) & (y < high), g > 0
    passes = {
        "guided": inside & positive,
        "deconvnet": positive,
        "redirected": inside | ((y <= low) & ~positive) | ((y >= high) & positive),
    }[rule]
    assert torch.equal(x.grad, torch.where(passes, g, 0))


# ---------------------------------------------------------------- Taps


def test_taps_equal_the_layers_run_by_hand(coursenet, scenes):
    taps = Taps(coursenet, "conv1", "relu2", "fc7", "")(scenes.images)
    x = (scenes.images - coursenet.mean) / coursenet.std
    for name, layer in coursenet.named_children():
        x = layer(x)
        if name in taps:
            assert torch.allclose(taps[name], x, atol=1e-5)
    assert torch.allclose(taps[""], x, atol=1e-5)
    assert list(taps) == ["conv1", "relu2", "fc7", ""]


def test_the_forward_pass_stops_at_the_deepest_layer(coursenet, scenes):
    taps = Taps(coursenet, "conv2", "conv1")
    taps(scenes.images)
    ran = []
    hook = coursenet.conv3.register_forward_hook(lambda *_: ran.append("conv3"))
    try:
        taps(scenes.images)
    finally:
        hook.remove()
    assert ran == []


def test_values_before_an_in_place_relu_are_kept(generator):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True))
    x = torch.rand(2, 3, 8, 8, generator=generator)
    got = Taps(net, "0", "1", "2", "3")(x)
    expected = net[0](x)
    assert torch.equal(got["0"], expected)
    assert got["0"].min() < 0 <= got["1"].min()
    assert got["2"].min() < 0 <= got["3"].min()


def test_a_layer_that_runs_twice_gives_its_last_answer(generator):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.relu(x) - 0.5) + 10

    x = torch.rand(1, 3, 4, 4, generator=generator)
    assert torch.equal(Taps(Twice(), "relu")(x)["relu"], (x - 0.5).clamp(min=0))


def test_no_hook_survives(coursenet, scenes):
    taps = Taps(coursenet, "conv3")
    taps(scenes.images)
    with pytest.raises(TypeError):
        taps(scenes.images.byte())
    assert hooks(coursenet) == []


def test_unknown_layers_are_named_with_the_nearest(coursenet):
    with pytest.raises(ValueError, match=r"no layer 'conv9' \(did you mean 'conv.'.*choose from conv1, relu1"):
        Taps(coursenet, "conv9")
    with pytest.raises(ValueError, match="name at least one"):
        Taps(coursenet)


def test_a_layer_that_never_runs_is_named(generator):
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    net.forward = lambda x: x
    with pytest.raises(ValueError, match="'0' does not run"):
        Taps(net, "0")(torch.rand(1, 3, 4, 4, generator=generator))


# ---------------------------------------------------------------- receptive fields

# Published sizes (Zeiler and Fergus 2014; Araujo 2019) and strides
ALEXNET = {
    "features.0": (11, 4),
    "features.2": (19, 8),
    "features.3": (51, 8),
    "features.5": (67, 16),
    "features.6": (99, 16),
    "features.8": (131, 16),
    "features.10": (163, 16),
    "features.12": (195, 32),
    "classifier.1": (355, 0),
}


@pytest.fixture(scope="module")
def alexnet():
    return models.load("alexnet", weights="random", initialization="torchvision")


@pytest.mark.parametrize("layer", ALEXNET)
def test_the_fields_of_alexnet_are_the_published_ones(alexnet, layer):
    field = receptive_field(alexnet, layer)
    assert (field.size, field.stride) == ALEXNET[layer]


@torch.no_grad()
def seen_pixels(net, layer, side):
    """By brute force: (rows, columns), each a bool table of units by pixels that says which unit sees which.

    A NaN in a row of the picture makes NaN of every unit that looks at that row, whatever the weights.
    """
    pictures = torch.zeros(2 * side, 3, side, side, dtype=torch.double)
    for i in range(side):
        pictures[i, :, i] = pictures[side + i, :, :, i] = torch.nan
    answers = torch.cat([Taps(net, layer)(chunk)[layer].isnan().any(1) for chunk in pictures.split(32)])
    if answers.dim() == 1:  # a layer without places
        answers = answers[:, None, None]
    return answers[:side].any(2).T, answers[side:].any(1).T


def differences(net, layer, side):
    """What brute force and receptive_field disagree about; and how many units see a box that is wholly inside."""
    net = net.double().eval()
    field = receptive_field(net, layer, side)
    wrong, inside = [], 0
    for axis, table in enumerate(seen_pixels(net, layer, side)):
        for i, unit in enumerate(table):
            box = field.box(*((i, 0), (0, i))[axis])
            first, last = box[axis], box[axis + 2]
            pixels = unit.nonzero()[:, 0].tolist()
            if not pixels:  # nothing but padding
                continue
            inside += (whole := first >= 0 and last <= side)
            # At the border, dilated kernels may see less than the box cut to the picture, but never more
            expected, got = (max(first, 0), min(last, side)), (pixels[0], pixels[-1] + 1)
            if got != expected and (whole or got[0] < expected[0] or got[1] > expected[1]):
                wrong.append(f"{('row', 'column')[axis]} {i}: sees {got}, and the field says {expected}")
    return wrong, inside


class Toys(nn.Module):
    """A forward pass written as function(x, *modules); `end` is its answer."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(modules)
        self.end = nn.Identity()

    def forward(self, x):
        return self.end(self.function(x, *self.parts))


def conv(kernel=3, inputs=3, outputs=4, **options):
    return nn.Conv2d(inputs, outputs, kernel, **options)


def fire(x, squeeze, narrow, wide):
    x = squeeze(x).relu()
    return torch.cat([narrow(x), wide(x)], 1).relu()


def shuffle(x, before, after):
    x = before(x)
    n, c, h, w = x.shape
    return after(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


def convnext(x, stem, depthwise, norm, linear):
    x = stem(x)
    y = linear(norm(depthwise(x).permute(0, 2, 3, 1)))
    return x + y.permute(0, 3, 1, 2)


def squeeze_and_excite(x, before, down, up):
    x = before(x)
    return x * torch.sigmoid(up(F.relu(down(x.mean((2, 3), keepdim=True)))))


def dense(x, first, second, third):
    x = torch.cat([x, first(x)], 1)
    x = torch.cat([x, second(F.relu(x))], 1)
    return third(x)


def written_in(x, narrow, wide):
    y = narrow(x).clone()
    y[:, :2] = wide(x)[:, :2]
    return y


def gathered(x, narrow, wide):
    y = x.new_zeros(len(x), 8, *x.shape[2:])
    y[:, :4] = narrow(x)
    y[:, 4:] = wide(x)
    return y


def indexed_pool(x, before):
    return F.max_pool2d(before(x), 3, 2, 1, return_indices=True)[0]


SIDE = 24
BLOCKS = {
    "padding": lambda: Toys(lambda x, a, b: b(a(x)), conv(3, padding=1), conv(5, 4, padding=2, stride=2)),
    "no padding": lambda: Toys(lambda x, a, b: b(a(x)), conv(3, stride=2), conv(3, 4)),
    "too much padding": lambda: Toys(lambda x, a, b: b(a(x)), conv(3, padding=3), conv(3, 4, stride=3, padding=2)),
    "dilation": lambda: Toys(lambda x, a, b: b(a(x)), conv(3, dilation=3, padding=3), conv(2, 4, dilation=2)),
    "even kernels": lambda: Toys(lambda x, a, b: b(a(x)), conv(4, stride=2, padding=1), conv(2, 4)),
    "rectangular kernel": lambda: Toys(
        lambda x, a, b: b(a(x)), conv((1, 7), padding=(0, 3)), conv((5, 2), 4, stride=(2, 1), padding=(1, 0))
    ),
    "padding same": lambda: Toys(lambda x, a, b: b(a(x)), conv(3, padding="same"), conv(5, 4, padding="same")),
    "padding same, dilated": lambda: Toys(lambda x, a: a(x), conv(3, padding="same", dilation=2)),
    # PyTorch itself warns that this one copies its input
    "padding same, even": lambda: Toys(lambda x, a, b: b(a(x)), conv((4, 2), padding="same"), conv(3, 4)),
    "padding valid": lambda: Toys(lambda x, a: a(x), conv(3, padding="valid")),
    "reflected padding": lambda: Toys(lambda x, a: a(x), conv(5, padding=2, padding_mode="reflect")),
    "F.pad": lambda: Toys(lambda x, a: a(F.pad(x, (2, 0, 1, 3))), conv(3, stride=2)),
    "F.pad that crops": lambda: Toys(lambda x, a: F.pad(a(x), (-2, -1, 0, -3)), conv(3, padding=1)),
    "F.conv2d": lambda: Toys(lambda x, a: F.conv2d(x, a.weight, None, stride=2, padding=(2, 1)), conv(5)),
    "F.conv2d, positions": lambda: Toys(lambda x, a: F.conv2d(x, a.weight, a.bias, 2, 1, 2), conv(3)),
    "groups": lambda: Toys(lambda x, a, b: b(a(x)), conv(3, padding=1), conv(3, 4, groups=2, padding=1)),
    "fire": lambda: Toys(fire, conv(1), conv(1, 4), conv(3, 4, padding=1)),
    "residual": lambda: Toys(
        lambda x, a, b, c: F.relu(b(F.relu(a(x))) + c(x)),
        conv(3, stride=2, padding=1),
        conv(3, 4, padding=1),
        conv(1, stride=2),
    ),
    "residual in place": lambda: Toys(lambda x, a, b: a(x).relu_().add_(b(x)), conv(3, padding=1), conv(1)),
    "branches apart": lambda: Toys(  # neither box holds the other
        lambda x, a, b: a(F.pad(x, (4, 0, 0, 0))) + b(F.pad(x, (0, 4, 0, 0))), conv((1, 5)), conv((1, 5))
    ),
    "dense": lambda: Toys(dense, conv(3, padding=1), conv(3, 7, padding=1), conv(3, 11, padding=1)),
    "squeeze and excite": lambda: Toys(squeeze_and_excite, conv(3, padding=1), conv(1, 4), conv(1, 4)),
    "convnext": lambda: Toys(
        convnext, conv(4, stride=4), conv(3, 4, groups=4, padding=1), nn.LayerNorm(4), nn.Linear(4, 4)
    ),
    "channel shuffle": lambda: Toys(shuffle, conv(3, stride=2, padding=1), conv(3, 4, groups=2)),
    "group norm": lambda: Toys(lambda x, a, b: b(a(x)), conv(3), nn.GroupNorm(2, 4)),
    "batch norm": lambda: Toys(lambda x, a, b: b(a(x)), conv(3), nn.BatchNorm2d(4)),
    "F.max_pool2d": lambda: Toys(lambda x, a: F.max_pool2d(a(x), 3, 2, 1), conv(3)),
    "F.max_pool2d, ceil": lambda: Toys(
        lambda x, a: F.max_pool2d(a(x), kernel_size=3, stride=2, ceil_mode=True), conv()
    ),
    "F.max_pool2d, dilated": lambda: Toys(lambda x, a: F.max_pool2d(a(x), 2, stride=1, dilation=3), conv(3)),
    "F.max_pool2d, indices": lambda: Toys(indexed_pool, conv(3)),
    "F.avg_pool2d": lambda: Toys(lambda x, a: F.avg_pool2d(a(x), (2, 3)), conv(3)),
    "torch.max_pool2d": lambda: Toys(lambda x, a: torch.max_pool2d(a(x), [3, 3], [2, 2]), conv(3)),
    "adaptive, even": lambda: Toys(lambda x, a: F.adaptive_avg_pool2d(a(x), 4), conv(3, padding=1)),
    "adaptive, one row": lambda: Toys(lambda x, a: F.adaptive_max_pool2d(a(x), (1, 6)), conv(3, padding=1)),
    "global average": lambda: Toys(lambda x, a: F.adaptive_avg_pool2d(a(x), 1), conv(3, padding=1)),
    "mean": lambda: Toys(lambda x, a: a(x).mean((2, 3)), conv(3, padding=1)),
    "fully connected": lambda: Toys(lambda x, a, b: b(a(x).flatten(1)), conv(3, padding=1), nn.Linear(4 * 576, 2)),
    "attention over all": lambda: Toys(
        lambda x, a: F.scaled_dot_product_attention(*[a(x).flatten(2).mT] * 3).mT.reshape(len(x), 4, 6, 6),
        conv(4, stride=4),
    ),
    "turned and back": lambda: Toys(
        lambda x, a: a(x.transpose(2, 3)).transpose(2, 3), conv((1, 7), stride=(2, 1), padding=(0, 2))
    ),
    "turned and back with mT": lambda: Toys(lambda x, a: a(x.mT).mT, conv((1, 7), padding=(0, 2))),
    "padded with channels last": lambda: Toys(
        lambda x, a: F.pad(a(x).permute(0, 2, 3, 1), (0, 0, 1, 0, 2, 0)).permute(0, 3, 1, 2), conv(3)
    ),
    "written into a slice": lambda: Toys(written_in, conv(3, padding=1), conv(7, padding=3)),
    "gathered in slices": lambda: Toys(gathered, conv(3, padding=1), conv(7, padding=3)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("block", BLOCKS)
def test_the_field_is_what_a_nan_reaches(block):
    wrong, inside = differences(BLOCKS[block](), "end", SIDE)
    assert not wrong
    # a layer that looks at everything counts padding, so its box hangs over the border
    assert inside or receptive_field(BLOCKS[block]().double(), "end", SIDE).box()[2] >= SIDE


# Calls that keep the shape of a map and still mix its places
MIXERS = {
    "matmul": lambda x, linear: torch.matmul(x, torch.ones(SIDE, SIDE)),
    "@": lambda x, linear: x @ torch.ones(SIDE, SIDE),
    "linear over the width": lambda x, linear: linear(x),
    "softmax": lambda x, linear: x.softmax(-1),
    "flip": lambda x, linear: x.flip(-1),
    "roll": lambda x, linear: x.roll(1, -1),
    "layer norm": lambda x, linear: F.layer_norm(x, x.shape[1:]),
    "instance norm": lambda x, linear: F.instance_norm(x),
    "minus the mean": lambda x, linear: x - x.mean((2, 3), keepdim=True),
    "circular padding": lambda x, linear: F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="circular"), 3, 1),
}


@pytest.mark.parametrize("mixer", MIXERS)
def test_what_mixes_places_is_refused_or_sees_them_all(mixer):
    net = Toys(lambda x, a, b: MIXERS[mixer](a(x), b), conv(3, padding=1), nn.Linear(SIDE, SIDE))
    try:
        field = receptive_field(net, "end", SIDE)
    except ValueError as error:
        assert "can see is not a box" in str(error) or "mixes positions" in str(error)
    else:
        _, left, _, right = field.box(12, 0)
        assert left <= 0 and right >= SIDE


def random_stack(generator):
    """Up to four layers with random windows."""

    def some(low, high):
        return int(torch.randint(low, high + 1, (), generator=generator))

    layers = []
    for i in range(some(1, 4)):
        kernel, stride = (some(1, 4), some(1, 4)), (some(1, 2), some(1, 3))
        dilation = (some(1, 2), some(1, 2))
        if some(0, 3):
            padding = (some(0, 3), some(0, 3))
            layers.append(nn.Conv2d(2 if i else 3, 2, kernel, stride, padding, dilation))
        else:
            if not layers:
                layers.append(nn.Conv2d(3, 2, 1))
            padding = (kernel[0] // 2, kernel[1] // 2)
            pools = [nn.MaxPool2d(kernel, stride, padding, dilation), nn.AvgPool2d(kernel, stride, padding)]
            layers.append(pools[some(0, 1)])
    return nn.Sequential(*layers)


@pytest.mark.parametrize("seed", range(30))
def test_random_stacks_see_what_a_nan_reaches(seed):
    net = random_stack(torch.Generator().manual_seed(seed))
    wrong, inside = differences(net, str(len(net) - 1), 64)
    assert not wrong, net
    assert inside


REAL = {
    "squeezenet": (lambda: torchvision.models.squeezenet1_1(), ["features.3", "features.5"], 64),
    "resnet": (
        lambda: torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], 8),
        ["layer1", "layer2"],
        64,
    ),
    "inception": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), torchvision.models.inception.InceptionC(8, channels_7x7=4)),
        ["1.branch7x7dbl_3", "1"],
        48,
    ),
    "densenet": (
        lambda: torchvision.models.DenseNet(8, (2, 2), 8),
        ["features.denseblock1", "features.transition1"],
        64,
    ),
    "shufflenet": (lambda: torchvision.models.shufflenet_v2_x0_5(), ["stage2.0", "stage2.1"], 64),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_published_networks_see_what_a_nan_reaches(name):
    make, layers, side = REAL[name]
    net = make()
    for layer in layers:
        wrong, inside = differences(net, layer, side)
        assert not wrong, layer
        assert inside, layer


def test_the_field_equals_the_support_of_a_gradient():
    """The other brute force: all weights one, no bias, and averages; a gradient that is not zero was looked at."""
    net = nn.Sequential(conv(3, stride=2, padding=1, bias=False), nn.AvgPool2d(3, 2, 1), conv(5, 4, bias=False))
    for part in (net[0], net[2]):
        nn.init.ones_(part.weight)
    field = receptive_field(net, "2", 48)
    x = torch.ones(1, 3, 48, 48, requires_grad=True)
    net(x)[0, 0, 2, 1].backward()
    rows, columns = x.grad[0, 0].nonzero().T
    support = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    top, left, bottom, right = field.box(2, 1)
    assert tuple(map(int, support)) == (max(top, 0), max(left, 0), min(bottom, 48), min(right, 48))


def test_a_box_by_hand():
    """3 at stride 2, then 2: 3 + 1 * 2 = 5 pixels, 2 apart, from -1."""
    net = nn.Sequential(conv(3, stride=2, padding=1), conv(2, 4))
    field = receptive_field(net, "1", 32)
    assert field == ReceptiveField(size=5, stride=2, start=-1)
    assert field.box(0, 3) == (-1, 5, 4, 10)
    oblong = receptive_field(nn.Sequential(conv((1, 7), padding=(0, 3), stride=(1, 2))), "0", 32)
    assert oblong == ReceptiveField(size=(1, 7), stride=(1, 2), start=(0, -3))
    assert oblong.box(4, 1) == (4, -1, 5, 6)


def test_a_layer_that_sees_everything_has_no_stride():
    net = nn.Sequential(conv(3), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
    assert receptive_field(net, "2", 16) == ReceptiveField(size=16, stride=0, start=0)


def test_pictures_may_be_oblong():
    net = nn.Sequential(conv(3, padding=1), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
    assert receptive_field(net, "1", (16, 24)) == ReceptiveField(size=(6, 8), stride=(4, 6), start=-1)
    assert receptive_field(net, "3", (16, 24)) == ReceptiveField(size=(18, 26), stride=0, start=-1)


def test_the_picture_has_the_networks_size_unless_told(coursenet):
    assert coursenet.image_size == 96
    assert receptive_field(coursenet, "fc6") == receptive_field(coursenet, "fc6", 96)
    assert receptive_field(coursenet, "pool5", 64) == receptive_field(coursenet, "pool5")


def test_following_a_network_leaves_it_as_it_was(coursenet, scenes):
    before = coursenet(scenes.images)
    receptive_field(coursenet, "relu5")
    assert hooks(coursenet) == []
    assert torch.overrides._get_current_function_mode_stack() == []
    assert torch.equal(coursenet(scenes.images), before)


def test_fields_that_do_not_exist_are_refused(coursenet):
    with pytest.raises(ValueError, match=r"no layer 'conv9' \(did you mean 'conv"):
        receptive_field(coursenet, "conv9")
    for upsampled in (
        lambda x, a: F.interpolate(a(x), scale_factor=2),
        lambda x, a: F.conv_transpose2d(a(x), torch.ones(4, 4, 2, 2), stride=2),
        lambda x, a: F.pixel_shuffle(a(x), 2),
    ):
        with pytest.raises(ValueError, match="interpolate|conv_transpose2d|pixel_shuffle"):
            receptive_field(Toys(upsampled, conv(3)), "end", SIDE)
    blind = Toys(lambda x, a: a(torch.ones(1, 4)), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="'parts.0' does not depend on the image"):
        receptive_field(blind, "parts.0", SIDE)
    assert torch.overrides._get_current_function_mode_stack() == []


def test_a_network_in_training_mode_is_followed_as_in_evaluation_and_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    net[2].eval()
    before = net[1].running_mean.clone()
    assert receptive_field(net, "2", 16).size == 3
    assert net.training and net[1].training and not net[2].training
    assert torch.equal(net[1].running_mean, before)


def test_a_field_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    receptive_field(nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)), "1", 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_need_not_begin_with_a_convolution():
    assert receptive_field(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), "1", 8) == ReceptiveField(8, 0, 0)

    class Bare(nn.Module):  # of one channel, its kernel a parameter
        def __init__(self):
            super().__init__()
            self.bias, self.kernel = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.rand(4, 1, 3, 5).double())
            self.end = nn.Identity()

        def forward(self, x):
            return self.end(F.conv2d(x, self.kernel, self.bias.double(), padding=(1, 0)))

    assert receptive_field(Bare(), "end", 8) == ReceptiveField((3, 5), 1, (-1, 0))


def test_what_sees_more_than_its_box_is_named():
    net = Toys(lambda x, a: a(x).softmax(-1), conv(3, padding=1))
    seen = r"it sees more than ReceptiveField\(size=3, stride=1, start=-1\)"
    with pytest.raises(ValueError, match=f"layer 'end' mixes positions in a way that is not followed: {seen}"):
        receptive_field(net, "end", SIDE)


class TestListening:
    """A loop keeps its hooks from pass to pass; nothing else may notice."""

    def net(self):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 3)))

    def test_gives_what_single_passes_give_at_any_size(self):
        taps = Taps(self.net(), "0", "2.0")
        for size in (8, 8, 11):
            x = torch.rand(2, 3, size, size)
            alone = taps(x)
            with taps.listening():
                together = taps(x), taps(x)
            for again in together:
                assert all(torch.equal(alone[layer], again[layer]) for layer in ("0", "2.0"))

    def test_hooks_and_mode_are_as_before_also_after_an_error(self):
        net = self.net().train()
        with pytest.raises(ZeroDivisionError), (taps := Taps(net, "2.0")).listening(), taps.listening():
            taps(torch.rand(1, 3, 8, 8))
            assert not net.training
            raise ZeroDivisionError
        assert all(module.training and not module._forward_hooks for module in net.modules())

    def test_hears_only_its_own_passes(self):
        net, x = self.net(), torch.rand(1, 3, 8, 8)
        taps, other = Taps(net, "0"), Taps(net, "2")
        with taps.listening():
            first = taps(x)["0"]
            whole = net.eval()(x)  # not stopped behind the layer
            assert torch.equal(whole, other(x)["2"])
            assert torch.equal(taps(x)["0"], first)

    def test_another_thread_taps_for_itself(self):
        net, found = self.net(), []
        taps, x = Taps(net, "0"), torch.rand(4, 1, 3, 8, 8)
        alone = [taps(image)["0"] for image in x]
        with taps.listening():
            thread = threading.Thread(target=lambda: found.extend(taps(image)["0"] for image in x))
            thread.start()
            mine = [taps(image)["0"] for image in x]
            thread.join()
        for a, b, c in zip(alone, mine, found, strict=True):
            assert torch.equal(a, b) and torch.equal(a, c)

    def test_each_kind_of_batch_is_checked_once(self):
        net = models.load("coursenet")
        taps = Taps(net, "conv1")
        with taps.listening():
            taps(torch.rand(1, 3, 32, 32))
            with pytest.raises(TypeError, match="float64"):
                taps(torch.rand(1, 3, 32, 32).double())
            with pytest.raises(ValueError, match="lie in"):
                taps(255 * torch.rand(2, 3, 32, 32))
        with pytest.raises(ValueError, match="lie in"), taps.listening():
            taps(255 * torch.rand(1, 3, 32, 32))
