"""The front door, as a matrix: every public function that takes a network, labels or maps, in every situation.

Each cell is either right, equal to the plain call, or one clear error that names the culprit. The rows are found by
looking at signatures, so that a new function cannot be forgotten.
"""

import importlib
import inspect
import pkgutil
import warnings
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import course_lib
from course_lib import (
    adversarial,
    attribution,
    embedding,
    energy,
    generator,
    images,
    measure,
    models,
    patches,
    perceptual,
    plotting,
    preimage,
    recipes,
    taps,
    tiles,
    widgets,
)
from course_lib.energy import activation, squared_norm
from tests.elsewhere import away, elsewhere, home

SIDE = 16
CLASSES = ("disc", "square", "star", "ring")
N = 3


def parts():
    """A small network with all that training mode changes."""
    return OrderedDict(
        conv1=nn.Conv2d(3, 6, 3, padding=1),
        norm1=nn.BatchNorm2d(6),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 8, 3, padding=1),
        relu2=nn.ReLU(inplace=True),
        drop=nn.Dropout(0.5),
        pool2=nn.AdaptiveAvgPool2d(2),
        flatten=nn.Flatten(),
        fc=nn.Linear(32, len(CLASSES)),
    )


def plain_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(parts())
        net(torch.rand(8, 3, SIDE, SIDE))  # statistics that are not the initial ones
    return net.eval()


def network(inner=None):
    inner = plain_network() if inner is None else inner
    details = {"name": "small", "classes": CLASSES, "image_size": SIDE}
    return models.Network(inner, **details, mean=[0.5] * 3, std=[0.25] * 3)


X = torch.rand(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
HEAT = torch.rand(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
MASKS = HEAT > 0.7
LABEL = [1, 0, 3]  # not what the network sees in them, which lbfgs would refuse


class Row(NamedTuple):
    """call(net, x, label): the function, made small."""

    call: object
    labels: bool = False  # whether it takes them
    classes: bool = True  # by name, too
    images: bool = True  # whether it takes images: then their dtype and device can differ from the network's
    needs_size: bool = False  # a plain module is refused by name


def minimized(net, x, label):
    return preimage.minimize(net, -1 * activation("fc", label), images.Pixels(x), steps=2)


def small(recipe, *arguments, **options):
    """A recipe of two steps."""
    return lambda net, x, label: recipe(net, *(a(net, x, label) if callable(a) else a for a in arguments), **options)


def x_of(net, x, label):
    return x


def one_of(net, x, label):
    return x[:1]


def chosen(net, x, label):
    return label


ROWS = {
    "adversarial.fgsm": Row(lambda net, x, label: adversarial.fgsm(net, x, label, 0.1, anyway=True), labels=True),
    "adversarial.pgd": Row(lambda net, x, label: adversarial.pgd(net, x, label, 0.1, 2, anyway=True), labels=True),
    "adversarial.apgd": Row(lambda net, x, label: adversarial.apgd(net, x, label, 0.1, 2, anyway=True), labels=True),
    "adversarial.apgd_t": Row(
        lambda net, x, label: adversarial.apgd_t(net, x, label, 0.1, 2, targets=2, anyway=True), labels=True
    ),
    "adversarial.square": Row(
        lambda net, x, label: adversarial.square(net, x, label, 0.1, 3, anyway=True), labels=True
    ),
    "adversarial.patch": Row(lambda net, x, label: adversarial.patch(net, x, label, 4, steps=2), labels=True),
    "adversarial.certify": Row(lambda net, x, label: adversarial.certify(net, x, 0.1, 4, 20).label),
    "adversarial.lbfgs": Row(lambda net, x, label: adversarial.lbfgs(net, x, label, searches=2, steps=2), labels=True),
    "adversarial.fooling_image": Row(
        lambda net, x, label: adversarial.fooling_image(net, label, steps=2), labels=True, images=False, needs_size=True
    ),
    "attribution.gradient": Row(lambda net, x, label: attribution.gradient(net, x, label), labels=True),
    "attribution.saliency": Row(lambda net, x, label: attribution.saliency(net, x, label, "guided"), labels=True),
    "attribution.smooth_grad": Row(
        lambda net, x, label: attribution.smooth_grad(net, x, label, samples=2), labels=True
    ),
    "attribution.integrated_gradients": Row(
        lambda net, x, label: attribution.integrated_gradients(net, x, label, steps=4), labels=True
    ),
    "attribution.grad_cam": Row(lambda net, x, label: attribution.grad_cam(net, x, label), labels=True),
    "attribution.occlusion": Row(lambda net, x, label: attribution.occlusion(net, x, label, 8, 8), labels=True),
    "attribution.occlusion_grid": Row(
        lambda net, x, label: attribution.occlusion_grid(net, x, label, 8, 8), labels=True
    ),
    "embedding.codes": Row(lambda net, x, label: embedding.codes(net, "conv2", x)),
    "generator.fingerprint": Row(lambda net, x, label: generator.fingerprint(net), images=False),
    "measure.deletion": Row(lambda net, x, label: measure.deletion(net, x, label, HEAT.to(x), steps=2), labels=True),
    "measure.insertion": Row(lambda net, x, label: measure.insertion(net, x, label, HEAT.to(x), steps=2), labels=True),
    "models.average_pooling": Row(lambda net, x, label: models.average_pooling(net)(x), needs_size=True),
    "patches.top_patches": Row(lambda net, x, label: patches.top_patches(net, "conv2", x, 2).values),
    "patches.gradients": Row(
        lambda net, x, label: patches.gradients(net, "conv2", patches.top_patches(net, "conv2", x, 2), x, 1)
    ),
    "perceptual.PerceptualLoss": Row(lambda net, x, label: perceptual.PerceptualLoss(net, ["conv2"])(x, x[:])),
    "plotting.filters": Row(lambda net, x, label: plotting.filters(net), images=False),
    "preimage.minimize": Row(lambda net, x, label: minimized(net, x, label), labels=True, classes=False),
    "preimage.minimize_in_stages": Row(
        lambda net, x, label: preimage.minimize_in_stages(
            net, -1 * activation("fc", label), images.Pixels(x), [(preimage.ADAM, 2)]
        ),
        labels=True,
        classes=False,
    ),
    "preimage.tapped": Row(lambda net, x, label: preimage.tapped(net, activation("conv2", 0))(x)),
    "recipes.caricature": Row(small(recipes.caricature, x_of, "conv2", steps=2)),
    "recipes.deepdream": Row(small(recipes.deepdream, x_of, "conv2", octaves=2, steps=2, jitter=2)),
    "recipes.dream_zoom": Row(
        lambda net, x, label: list(recipes.dream_zoom(net, x, "conv2", frames=2, octaves=1, steps=1, jitter=2))
    ),
    "recipes.from_white_noise": Row(lambda net, x, label: recipes.from_white_noise(net, "conv2", x, evaluations=2)),
    "recipes.greedy_weights": Row(
        lambda net, x, label: recipes.greedy_weights(net, x[:1], 2, until="conv2", evaluations=2)(x), needs_size=True
    ),
    "recipes.in_focus": Row(
        lambda net, x, label: recipes.in_focus(net, "fc", label, x, views=2, blur=2), labels=True, classes=False
    ),
    "recipes.invert": Row(
        lambda net, x, label: recipes.invert(taps.Taps(net, "conv2"), x, stages=[(preimage.ADAM, 2)])
    ),
    "recipes.match": Row(lambda net, x, label: recipes.match(taps.Taps(net, "conv2"), x, x[:], rates=(0.01,), steps=2)),
    "recipes.maximize_activation": Row(
        lambda net, x, label: recipes.maximize_activation(net, "fc", label, steps=2),
        labels=True,
        images=False,
        needs_size=True,
    ),
    "recipes.multifaceted": Row(
        lambda net, x, label: recipes.multifaceted(net, "fc", 2, x, code_layer="conv2", facets=2, steps=2)
    ),
    "recipes.synthesize_texture": Row(small(recipes.synthesize_texture, one_of, ["conv1", "conv2"], steps=2)),
    "recipes.transfer_style": Row(
        lambda net, x, label: recipes.transfer_style(net, x[:1], x[1:2], "conv2", ["conv1"], steps=2)
    ),
    "taps.Taps": Row(lambda net, x, label: taps.Taps(net, "conv1", "norm1", "fc")(x)),
    "taps.receptive_field": Row(lambda net, x, label: str(taps.receptive_field(net, "conv2", SIDE)), images=False),
    "tiles.Tiled": Row(lambda net, x, label: tiles.Tiled(net, "conv2", side=8)(x)),
    "widgets.explorer": Row(
        lambda net, x, label: [
            str(part) for part in widgets.explorer(net, x.repeat(4, 1, 1, 1), {"a": x[:1]}).figures("conv2", 1)
        ],
        needs_size=True,
    ),
}
# Functions of maps, without a network.
MAPS = {
    "attribution.segment": lambda heat: attribution.segment(X, heat),
    "measure.deletion": lambda heat: measure.deletion(network(), X, LABEL, heat, steps=2),
    "measure.insertion": lambda heat: measure.insertion(network(), X, LABEL, heat, steps=2),
    "measure.iou": lambda heat: measure.iou(heat, MASKS),
    "measure.pointing_game": lambda heat: measure.pointing_game(heat, MASKS),
    "plotting.heat": plotting.heat,
    "plotting.signed": plotting.signed,
}
# Taken for a row by their signature, but: the door itself, what is behind it, and what a row reaches.
NOT_ROWS = {
    "adversarial.evolve": "what fooling_image runs behind the door",
    "cutouts.recognised": "looks at images of its own, and needs 1000 classes: tests/test_cutouts.py",
    "generator.load": "takes the one network whose codes it inverts, by its fingerprint",
    "models.Network": "is the network of most rows",
    "patches.crops": "takes no network",
    "plotting.pictures": "its labels are the rows' captions",
    "taps.channels_first": "takes a layer's output",
    "taps.hooked": "gives a function what the layer returned, whatever that is",
}


def flat(result):
    """What a call returned, as one row of numbers."""
    if isinstance(result, preimage.Preimage):
        return flat(result.image)
    if isinstance(result, Tensor):
        return result.detach().double().flatten()
    if isinstance(result, str):
        return torch.tensor([float(ord(c)) for c in result], dtype=torch.double)
    return torch.cat([flat(part) for part in (result.values() if isinstance(result, dict) else result)])


def same(a, b, tolerance=1e-5):
    a, b = flat(a), flat(b)
    assert a.shape == b.shape
    assert torch.allclose(a, b, rtol=tolerance, atol=tolerance), float((a - b).abs().max())


@cache
def truth(name):
    """What a row gives in the plainest call: labels as a tensor, a Network in evaluation mode."""
    return ROWS[name].call(network(), X, torch.tensor(LABEL))


TAKES_NETWORK = sorted(ROWS)
TAKES_LABELS = sorted(name for name, row in ROWS.items() if row.labels)
TAKES_IMAGES = sorted(name for name, row in ROWS.items() if row.images)
SIZELESS = sorted(name for name, row in ROWS.items() if not row.needs_size)


# ---------------------------------------------------------------- which rows there are


def public_functions():
    """{"room.function": its signature} of every room's public names."""
    found = {}
    for room in pkgutil.iter_modules(course_lib.__path__):
        if room.name in ("grading", "reproduce", "train", "inputs", "errors", "progress"):
            continue  # command lines, and the door itself
        module = importlib.import_module(f"course_lib.{room.name}")
        for name in getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]):
            thing = getattr(module, name)
            made_here = getattr(thing, "__module__", "").startswith(module.__name__)
            if made_here and (inspect.isfunction(thing) or (inspect.isclass(thing) and issubclass(thing, nn.Module))):
                found[f"{room.name}.{name}"] = inspect.signature(thing)
    return found


def test_no_public_function_is_forgotten():
    asks = {"net", "network", "features", "label", "labels", "heat", "masks"}
    wanted = {
        name
        for name, signature in public_functions().items()
        if asks & set(signature.parameters) and not name.startswith("energy.") and name not in NOT_ROWS
    }
    assert wanted <= set(ROWS) | set(MAPS), sorted(wanted - set(ROWS) - set(MAPS))


# ---------------------------------------------------------------- labels

LABELS = {
    "list": LABEL,
    "tuple": tuple(LABEL),
    "numpy": np.array(LABEL),
    "numpy int32": np.array(LABEL, dtype=np.int32),
    "int32": torch.tensor(LABEL, dtype=torch.int32),
    "uint8": torch.tensor(LABEL, dtype=torch.uint8),
    "numpy scalars": [np.int64(label) for label in LABEL],
}


@pytest.mark.parametrize("form", list(LABELS))
@pytest.mark.parametrize("name", TAKES_LABELS)
def test_labels_in_every_form(name, form):
    same(ROWS[name].call(network(), X, LABELS[form]), truth(name))


@pytest.mark.parametrize("name", [name for name in TAKES_LABELS if ROWS[name].classes])
def test_class_names(name):
    names = [CLASSES[i] for i in LABEL]
    for form in (names, tuple(names), np.array(names)):
        same(ROWS[name].call(network(), X, form), truth(name))
    with pytest.raises(
        ValueError, match=r"no class of small .*'stra' \(did you mean 'star'\?\)|no class of small 'stra'"
    ):
        ROWS[name].call(network(), X, "stra")


# What makes an image for each label, where one label is one image.
MAKES_IMAGES = ("adversarial.fooling_image", "recipes.maximize_activation")


@pytest.mark.parametrize("name", [name for name in TAKES_LABELS if name not in MAKES_IMAGES])
def test_one_label_for_all(name):
    same(ROWS[name].call(network(), X, 1), ROWS[name].call(network(), X, [1, 1, 1]))
    same(ROWS[name].call(network(), X, np.int64(1)), ROWS[name].call(network(), X, torch.tensor(1)))


BAD_LABELS = {
    "too few": ([1, 2], ValueError, "one for each of 3|or 3 of them"),
    "out of range": ([1, 2, 4], ValueError, "with number 4: they go from 0 to 3"),
    "negative": (-1, ValueError, "with number -1"),
    "NaN": ([1.0, float("nan"), 2.0], TypeError, "whole number"),
    "float": (torch.tensor([1.0, 2.0, 0.0]), TypeError, "whole number"),
    "bool": (True, TypeError, "whole number"),
    "a table": (torch.tensor([[1, 2, 0]]), ValueError, "one int"),
    "nothing": ([], ValueError, "one int"),
    "None": (None, TypeError, "whole number"),
}


@pytest.mark.parametrize(
    ("name", "form"),
    [(n, form) for n in TAKES_LABELS for form in BAD_LABELS if form != "too few" or n not in MAKES_IMAGES],
)
def test_bad_labels_are_named(name, form):
    label, error, message = BAD_LABELS[form]
    with pytest.raises(error, match=message):
        ROWS[name].call(network(), X, label)


# ---------------------------------------------------------------- the network's mode, and what belongs to the user


def in_training():
    net = plain_network()
    net(X).sum().backward()
    return net.train()


def state_of(net):
    gradients = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    values = [value.clone() for value in net.state_dict().values()]
    flags = [p.requires_grad for p in net.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in net.modules()]
    return [m.training for m in net.modules()], flags, hooks, gradients, values


def assert_untouched(net, before):
    after = state_of(net)
    assert after[:3] == before[:3]
    for a, b in zip(after[3] + after[4], before[3] + before[4], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("name", SIZELESS)
def test_a_network_in_training_is_evaluated_and_put_back(name):
    row, net = ROWS[name], in_training()
    expected = row.call(plain_network(), X, torch.tensor(LABEL))
    before = state_of(net)
    same(row.call(net, X, torch.tensor(LABEL)), expected)
    if name != "perceptual.PerceptualLoss":  # a loss for training, which keeps its network as it is while it lives
        assert_untouched(net, before)
    if row.labels:
        with pytest.raises(ValueError):
            row.call(net, X, 99)
        assert_untouched(net, before)


@pytest.mark.parametrize("name", TAKES_NETWORK)
def test_a_Network_stays_in_evaluation(name):
    net = network()
    parent = nn.Sequential(OrderedDict(net=net, rest=nn.Identity())).train()
    assert parent.training and not any(m.training for m in net.modules())
    before = state_of(net)
    same(ROWS[name].call(net, X, torch.tensor(LABEL)), truth(name))
    assert_untouched(net, before)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", TAKES_NETWORK)
def test_where_gradients_are_off(name, context):
    net, expected = network(), truth(name)
    with context():
        same(ROWS[name].call(net, X, torch.tensor(LABEL)), expected)
        same(ROWS[name].call(net, X.clone(), torch.tensor(LABEL)), expected)  # images of inference mode


@pytest.mark.parametrize("name", TAKES_LABELS)
def test_a_network_made_in_inference_mode_is_named(name):
    with torch.inference_mode():
        net = network()
    try:
        result = ROWS[name].call(net, X, torch.tensor(LABEL))
    except (ValueError, TypeError) as error:
        assert "inference_mode" in str(error)
    else:
        assert flat(result).isfinite().all()


@pytest.mark.parametrize("name", TAKES_NETWORK)
def test_six_threads_on_one_network(name):
    net = network()
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(ROWS[name].call, net, X, torch.tensor(LABEL)) for _ in range(6)]
        for job in jobs:
            same(job.result(), truth(name))
    assert not any(m._forward_hooks for m in net.modules()) and not any(m.training for m in net.modules())


# ---------------------------------------------------------------- what a network outputs


class Answer(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        for name, part in plain_network().named_children():
            self.add_module(name, part)
        self.wrap = wrap

    def forward(self, x):
        for name, part in self.named_children():
            x = part(x)
            if name == "conv2":
                hidden = x.clone()
        return self.wrap(x, hidden)


@dataclass
class Output:
    hidden: Tensor
    logits: Tensor


WRAPPERS = {
    "tuple": lambda x, hidden: (x, hidden),
    "dict": lambda x, hidden: {"hidden": hidden, "logits": x},
    "out": lambda x, hidden: {"out": x, "aux": hidden},
    "dataclass": lambda x, hidden: Output(hidden, x),
}


@pytest.mark.parametrize("form", list(WRAPPERS))
@pytest.mark.parametrize("name", SIZELESS)
def test_outputs_that_wrap_a_tensor(name, form):
    row = ROWS[name]
    same(
        row.call(Answer(WRAPPERS[form]).eval(), X, torch.tensor(LABEL)),
        row.call(plain_network(), X, torch.tensor(LABEL)),
    )


class Tupled(nn.Conv2d):
    def forward(self, x):
        return super().forward(x), x.mean()


class Unpacks(nn.Module):
    def __init__(self):
        super().__init__()
        source = plain_network()
        for name, part in source.named_children():
            self.add_module(name, part)
        self.conv2 = Tupled(6, 8, 3, padding=1)
        self.conv2.load_state_dict(source.conv2.state_dict())

    def forward(self, x):
        for part in self.children():
            x = part(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


@pytest.mark.parametrize("name", SIZELESS)
def test_layers_that_output_a_tuple(name):
    row = ROWS[name]
    same(row.call(Unpacks().eval(), X, torch.tensor(LABEL)), row.call(plain_network(), X, torch.tensor(LABEL)))


class ChannelsLast(nn.Module):
    """conv2 as a linear layer on (n, h, w, c), as Swin and ConvNeXt have them; the values are those of a 1 x 1 conv."""

    def __init__(self, last):
        super().__init__()
        for name, part in plain_network().named_children():
            self.add_module(name, part)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            linear = nn.Linear(6, 8)
        self.last = last
        if last:
            self.conv2 = linear
        else:
            self.conv2 = nn.Conv2d(6, 8, 1)
            self.conv2.load_state_dict({"weight": linear.weight[:, :, None, None], "bias": linear.bias})

    def forward(self, x):
        for name, part in self.named_children():
            x = part(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.last and name == "conv2" else part(x)
        return x


@pytest.mark.parametrize("name", SIZELESS)
def test_maps_with_their_channels_last(name):
    """In double precision: L-BFGS makes much of two orders of a sum."""
    row, x, nets = ROWS[name], X.double(), [ChannelsLast(last).double().eval() for last in (True, False)]
    label = (nets[0](x).argmax(1) + 1) % len(CLASSES)
    if name == "attribution.grad_cam":
        last, first = (attribution.grad_cam(net, x, label, "conv2") for net in nets)
    else:
        last, first = (row.call(net, x, label) for net in nets)
    same(last, first)


@pytest.mark.parametrize(
    ("architecture", "layer"), [("swin_t", "features.3"), ("convnext_tiny", "features.3.0.block.3")]
)
def test_torchvisions_networks_with_channels_last(architecture, layer):
    net = models.load(architecture, weights="random", initialization="torchvision")
    x = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    maps = taps.Taps(net, layer)(x)[layer]
    channels = {"swin_t": 192, "convnext_tiny": 768}[architecture]
    assert maps.shape == (1, channels, 8, 12)
    assert attribution.grad_cam(net, x, 3, layer, upsample=False).shape == (1, 1, 8, 12)
    assert attribution.grad_cam(net, x, 3).shape == (1, 1, 64, 96)  # the last layer with positions, whatever it is
    assert attribution.gradient(net, x, channels - 1, layer=layer).shape == x.shape
    assert len(patches.top_patches(net, layer, x, 1).values) == channels
    with pytest.raises(ValueError, match=f"they go from 0 to {channels - 1}"):
        attribution.gradient(net, x, channels, layer=layer)


def test_a_vision_transformers_grad_cam_asks_for_a_layer():
    net = models.load("vit_b_32", weights="random", initialization="torchvision")
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="goes on in tokens .* name the layer"):
        attribution.grad_cam(net, x, 3)
    with pytest.raises(ValueError, match=r"neither \(n, c\) nor \(n, c, h, w\)"):
        attribution.gradient(net, x, 3, layer="encoder.ln")


# ---------------------------------------------------------------- other kinds of modules, dtypes and devices


@pytest.mark.parametrize("name", TAKES_NETWORK)
def test_plain_modules(name):
    row = ROWS[name]
    if row.needs_size:
        with pytest.raises((TypeError, ValueError), match=r"models\.Network"):
            row.call(plain_network(), X, torch.tensor(LABEL))
    else:
        assert flat(row.call(plain_network(), X, torch.tensor(LABEL))).isfinite().all()


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, partial(torch.compile, backend="eager")], ids=["parallel", "compiled"]
)
@pytest.mark.parametrize("name", TAKES_NETWORK)
def test_wrapped_networks(name, wrap):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its compiler
        net = wrap(network())
    same(ROWS[name].call(net, X, torch.tensor(LABEL)), truth(name))


@pytest.mark.parametrize(("dtype", "alike"), [(torch.double, 0.9999), (torch.bfloat16, 0.95), (torch.half, 0.99)])
@pytest.mark.parametrize("name", TAKES_NETWORK)
def test_other_dtypes(name, dtype, alike):
    """As far as the dtype's digits go, which switch ReLUs; where steps add up, finite."""
    result = flat(ROWS[name].call(network().to(dtype), X.to(dtype), torch.tensor(LABEL)))
    if name == "widgets.explorer":
        return  # pages of pictures, in as many bytes as they take
    assert result.isfinite().all() and result.shape == flat(truth(name)).shape
    if name.startswith(("attribution.", "embedding.", "measure.", "taps.Taps", "patches.top")):
        assert torch.cosine_similarity(result, flat(truth(name)), dim=0) > alike


@pytest.mark.parametrize("name", TAKES_IMAGES)
def test_another_dtype_than_the_networks_is_named(name):
    with pytest.raises(TypeError, match="computes in torch.float16 and the images are torch.float32"):
        ROWS[name].call(network().half(), X, torch.tensor(LABEL))


@contextmanager
def second_device():
    """What moves a value to another device: a GPU where there is one, else one that only behaves like it."""
    if torch.cuda.is_available():
        yield lambda value: value.to("cuda")
    else:
        with elsewhere():
            yield away


@pytest.mark.parametrize("name", TAKES_NETWORK)
def test_a_second_device(name):
    with second_device() as move:
        result = ROWS[name].call(move(network()), move(X), move(torch.tensor(LABEL)))
        same(home(_out(result)), truth(name), 1e-4)


# These walk any number of images, and bring them to the network themselves.
WALKS = ("embedding.codes", "patches.top_patches", "patches.gradients", "widgets.explorer")


@pytest.mark.parametrize("name", [name for name in TAKES_IMAGES if name not in WALKS])
def test_devices_are_not_mixed(name):
    message = "the network is on (meta|cuda:0) and the images on cpu"
    with second_device() as move, pytest.raises(ValueError, match=message):
        ROWS[name].call(move(network()), X, torch.tensor(LABEL))


def _out(result):
    return result.image if isinstance(result, preimage.Preimage) else result


# ---------------------------------------------------------------- images and maps

BAD_IMAGES = {
    "NaN": (X.clone().index_fill_(0, torch.tensor([0]), torch.nan), ValueError, "NaN|not finite"),
    "bytes": ((X * 255).byte(), TypeError, "divide 8-bit values by 255"),
    "0 to 255": (X * 255, ValueError, r"lie in \[0, 1\]|[0-9]"),
    "empty": (X[:0], ValueError, "no images|number of pictures|number of images|empty"),
    "a list": (X.tolist(), TypeError, "torch tensor|tensor"),
}


@pytest.mark.parametrize("form", list(BAD_IMAGES))
@pytest.mark.parametrize("name", [n for n in TAKES_IMAGES if n not in ("preimage.tapped", "widgets.explorer")])
def test_bad_images_are_named(name, form):
    x, error, message = BAD_IMAGES[form]
    with pytest.raises(error, match=message):
        ROWS[name].call(network(), x, torch.tensor(LABEL))


@pytest.mark.parametrize("name", sorted(MAPS))
def test_bad_maps_are_named(name):
    with pytest.raises(ValueError, match="not finite"):
        MAPS[name](HEAT.clone().index_fill_(0, torch.tensor([1]), torch.nan))
    with pytest.raises(ValueError, match=r"shape|fit|differ"):
        MAPS[name](HEAT[:, 0])
    with pytest.raises(TypeError, match="maps are"):
        MAPS[name](HEAT.numpy())


@pytest.mark.parametrize("function", [measure.pointing_game, measure.iou])
def test_masks_of_255_are_named(function):
    with pytest.raises(ValueError, match="True and False, or 1 and 0"):
        function(HEAT, MASKS.byte() * 255)
    assert torch.equal(function(HEAT, MASKS.byte()), function(HEAT, MASKS))
    assert torch.equal(function(HEAT, MASKS.float()), function(HEAT, MASKS))


def test_energies_name_what_they_lack():
    assert (activation("conv9", 0) + squared_norm("conv1")).layers == ("conv9", "conv1")
    with pytest.raises(ValueError, match=r"no layer 'conv9' \(did you mean .*'conv1'.*\) for the term activation"):
        preimage.minimize(
            network(), activation("conv9", 0) + squared_norm("conv1"), images.Fourier(SIDE, SIDE), steps=1
        )
    with pytest.raises(TypeError, match="whole number"):
        energy.cross_entropy("", "star")
