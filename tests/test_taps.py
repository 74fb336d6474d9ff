import pytest
import torch
import torch.nn.functional as F
from captum.attr import Deconvolution, GuidedBackprop, Saliency
from torch import nn

from course_lib import attribution
from course_lib.taps import Taps, relu_backward

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
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    x = torch.rand(1, 3, 8, 8, generator=generator)
    with pytest.raises(ValueError, match="runs no ReLU"):
        attribution.gradient(net, x, 0, "guided")
    assert attribution.gradient(net, x, 0).abs().sum() > 0


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
