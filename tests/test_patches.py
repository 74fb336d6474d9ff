import copy
import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer

from course_lib import attribution, patches, world
from course_lib.patches import crops, gradients, top_patches
from course_lib.taps import Taps, receptive_field

BATCH = 16


@pytest.fixture(scope="module")
def many():
    return world.draw(200, seed=42).images


@pytest.fixture(scope="module")
def answers(coursenet, many):
    """What the layers answer to every scene, all of it stored."""
    taps = Taps(coursenet, "conv2", "pool5", "fc7")
    with torch.no_grad():
        found = [taps(chunk) for chunk in many.split(BATCH)]
    return {layer: torch.cat([each[layer] for each in found]) for layer in found[0]}


@pytest.fixture
def net(generator):
    """Strided, padded, with a ReLU whose second channel is dead."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1))
    for part in (net[0], net[2]):
        nn.init.normal_(part.weight, generator=generator)
        nn.init.zeros_(part.bias)
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias[1] = -1
    return net


class Tuples(Dataset):
    """Pictures with labels, as torchvision's datasets give them."""

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        return self.pictures[i], i % 10


def by_sorting(maps, k):
    """Brute force with NumPy: (values, index, place), each (c, k)."""
    table = maps.flatten(2).numpy() if maps.dim() == 4 else maps[:, :, None].numpy()  # (n, c, places)
    values, place = table.max(2), table.argmax(2)  # the first of equals
    index = np.argsort(-values, axis=0, kind="stable")[:k]
    rank = np.take_along_axis
    return rank(values, index, 0).T, index.T, rank(place, index, 0).T


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["conv2", "pool5", "fc7"])
def test_top_patches_are_those_of_storing_and_sorting_everything(coursenet, many, answers, layer):
    found = top_patches(coursenet, layer, many, 9, batch=BATCH, progress=False)
    values, index, place = by_sorting(answers[layer], 9)
    assert np.array_equal(found.values.numpy(), values)
    assert np.array_equal(found.index.numpy(), index)
    assert found.boxes.shape == (*index.shape, 4) and found.boxes.dtype == torch.int64

    field = receptive_field(coursenet, layer)
    for channel in range(len(index)):
        for rank in range(9):
            if layer == "fc7":
                expected = (0, 0, 96, 96)
            else:
                expected = field.box(*divmod(int(place[channel, rank]), answers[layer].shape[3]))
            assert tuple(found.boxes[channel, rank].tolist()) == expected


def test_k_may_be_all_pictures_and_one(coursenet, many, answers):
    few = many[:40]
    _, index, _ = by_sorting(answers["fc7"][:40], 40)
    assert np.array_equal(top_patches(coursenet, "fc7", few, 40, batch=20, progress=False).index.numpy(), index)
    assert np.array_equal(top_patches(coursenet, "fc7", few, 1, batch=20, progress=False).index.numpy(), index[:, :1])


def test_equal_activations_go_to_the_earlier_picture_and_the_earlier_place(net, generator):
    with torch.no_grad():  # whole numbers are exact in every batch, and often equal
        net[0].weight.copy_(torch.randint(-2, 3, net[0].weight.shape, generator=generator))
        net[2].weight.copy_(torch.randint(-1, 2, net[2].weight.shape, generator=generator))
        net[0].weight[1] = 0
    some = torch.randint(0, 2, (10, 3, 16, 16), generator=generator).float()
    pictures = torch.cat([some, some, some])
    found = top_patches(net, "2", pictures, 15, batch=4, progress=False)
    values, index, place = by_sorting(net(pictures).detach(), 15)
    assert (np.diff(values) == 0).sum() >= 30
    assert np.array_equal(found.values.numpy(), values)
    assert np.array_equal(found.index.numpy(), index)
    field = receptive_field(net, "2", 16)
    assert all(
        tuple(found.boxes[c, i].tolist()) == field.box(*divmod(int(place[c, i]), 8))
        for c in range(5)
        for i in range(15)
    )

    # a channel that is zero everywhere
    dead = top_patches(net, "1", torch.cat([some, some]), 4, batch=2, progress=False)
    assert dead.values[1].tolist() == [0, 0, 0, 0]
    assert dead.index[1].tolist() == [0, 1, 2, 3]
    assert dead.boxes[1].tolist() == [list(receptive_field(net, "1", 16).box(0, 0))] * 4


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_size_of_the_batch_does_not_matter(coursenet, many, batch):
    few = many[:60]
    plain = top_patches(coursenet, "pool5", few, 5, batch=16, progress=False)
    other = top_patches(coursenet, "pool5", few, 5, batch=batch, progress=False)
    assert torch.allclose(other.values, plain.values, atol=1e-4)
    assert (other.index == plain.index).float().mean() > 0.995  # equal up to rounding
    assert (other.boxes == plain.boxes).float().mean() > 0.995


def test_every_kind_of_collection_gives_the_same(coursenet, many, tmp_path):
    few = many[:30]
    files = [tmp_path / f"{i:02}.png" for i in range(30)]
    for picture, file in zip(few, files, strict=True):
        Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(file)
    expected = top_patches(coursenet, "conv3", few, 4, progress=False)
    for images in (tmp_path, str(tmp_path), files, [str(file) for file in files], Tuples(few)):
        found = top_patches(coursenet, "conv3", images, 4, progress=False)
        assert torch.equal(found.values, expected.values)
        assert torch.equal(found.index, expected.index)
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(crops(found, images, 2, size=96), crops(expected, few, 2))


def test_files_are_resized_as_asked(coursenet, tmp_path):
    for i in range(3):
        Image.new("RGB", (50, 40), (80 * i, 0, 0)).save(tmp_path / f"{i}.png")
    assert top_patches(coursenet, "fc6", tmp_path, 1, progress=False).boxes[0, 0].tolist() == [0, 0, 96, 96]
    assert top_patches(coursenet, "fc6", tmp_path, 1, size=64, progress=False).boxes[0, 0].tolist() == [0, 0, 64, 64]


# ---------------------------------------------------------------- boxes and crops


@pytest.mark.parametrize("where", [(1, 1), (9, 12), (15, 14)])
def test_a_box_holds_what_excites_the_unit(where):
    """A bright pixel excites the units whose box holds it, and no other."""
    net = nn.Sequential(nn.Conv2d(3, 1, 5, stride=3, padding=2, bias=False), nn.MaxPool2d(2, 1, 1))
    nn.init.ones_(net[0].weight)
    x = torch.zeros(2, 3, 16, 16)
    x[1, :, where[0], where[1]] = 1
    found = top_patches(net, "1", x, 1, progress=False)
    assert found.index.item() == 1
    top, left, bottom, right = found.boxes[0, 0].tolist()
    assert top <= where[0] < bottom and left <= where[1] < right
    assert (bottom - top, right - left) == (8, 8)  # 5 + 1 * 3
    cut = crops(found, x, 0)
    assert cut[0, 0, where[0] - top, where[1] - left] == 1


def test_boxes_in_pictures_that_are_not_square():
    """Only the pixel at (11, 21) is bright, and a box must be what the unit that lights up sees."""
    net = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(4), nn.AdaptiveMaxPool2d(1))
    nn.init.ones_(net[0].weight)
    x = torch.zeros(2, 3, 16, 24)
    x[1, :, 11, 21] = 1

    def box(layer):
        found = top_patches(net, layer, x, 1, progress=False)
        assert found.index.item() == 1
        return found.boxes[0, 0].tolist()

    assert box("0") == [10 - 1, 20 - 1, 10 + 2, 20 + 2]
    # windows of 4 x 6 units; the one from row 8, column 18 holds the pixel
    assert box("1") == [8 - 1, 18 - 1, 12 + 1, 24 + 1]
    top, left, bottom, right = box("2")
    assert top <= 0 and left <= 0 and bottom >= 16 and right >= 24


def test_a_transposed_collection_gives_transposed_boxes(generator):
    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    nn.init.normal_(net[0].weight, generator=generator)
    turned = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    turned[0].weight = nn.Parameter(net[0].weight.detach().transpose(2, 3).clone())
    turned[0].bias = net[0].bias
    x = torch.rand(10, 3, 20, 36, generator=generator)
    found = top_patches(net, "2", x, 3, progress=False)
    other = top_patches(turned, "2", x.transpose(2, 3), 3, progress=False)
    assert torch.allclose(found.values, other.values, atol=1e-5)
    assert torch.equal(found.boxes, other.boxes[..., [1, 0, 3, 2]])


def test_crops_show_the_picture_inside_and_the_fill_beyond_the_border():
    x = torch.rand(1, 3, 8, 8)
    boxes = torch.tensor([[[-2, 3, 3, 10]], [[1, 2, 6, 5]], [[-1, -1, 9, 9]]])
    found = patches.TopPatches(torch.zeros(3, 1), torch.zeros(3, 1, dtype=torch.long), boxes)
    cut = crops(found, x, 0, fill=0.25)
    assert cut.shape == (1, 3, 5, 7)
    assert torch.equal(cut[0, :, 2:, :5], x[0, :, :3, 3:])
    assert (cut[0, :, :2] == 0.25).all() and (cut[0, :, :, 5:] == 0.25).all()
    assert torch.equal(crops(found, x, 1)[0], x[0, :, 1:6, 2:5])
    assert torch.equal(crops(found, x, 2, fill=0)[0], F.pad(x[0], (1, 1, 1, 1)))


def test_some_ranks_are_those_of_all(coursenet, many):
    found = top_patches(coursenet, "conv3", many[:30], 5, progress=False)
    everything = crops(found, many[:30], 7), gradients(coursenet, "conv3", found, many[:30], 7)
    for ranks in ([0], [3, 1]):
        assert torch.equal(crops(found, many[:30], 7, ranks=ranks), everything[0][ranks])
        assert torch.equal(gradients(coursenet, "conv3", found, many[:30], 7, ranks=ranks), everything[1][ranks])


def test_gradients_are_the_gradient_of_the_best_unit(net, generator):
    x = torch.rand(12, 3, 20, 20, generator=generator)
    found = top_patches(net, "2", x, 3, progress=False)
    got = gradients(net, "2", found, x, 4, "gradient")
    assert got.shape == crops(found, x, 4).shape
    for rank in range(3):
        picture = x[found.index[4, rank]][None].clone().requires_grad_()
        map = net(picture)[0, 4]
        assert torch.isclose(map.max(), found.values[4, rank])
        (gradient,) = torch.autograd.grad(map.max(), picture)
        top, left, bottom, right = found.boxes[4, rank].tolist()
        framed = F.pad(gradient[0], (4, 4, 4, 4))[:, top + 4 : bottom + 4, left + 4 : right + 4]
        assert torch.allclose(got[rank], framed, atol=1e-6)
        # all of the gradient is inside the box
        assert torch.isclose(got[rank].abs().sum(), gradient.abs().sum(), rtol=1e-5)
        assert gradient.abs().sum() > 0


def test_gradients_are_zero_beyond_the_border_and_follow_the_rule(coursenet, many):
    few = many[:40]
    found = top_patches(coursenet, "conv3", few, 6, progress=False)
    beyond = (found.boxes[..., :2] < 0).any(-1) | (found.boxes[..., 2:] > 96).any(-1)
    channel = int(beyond.sum(1).argmax())
    assert beyond[channel].any()
    outside = crops(found, torch.zeros_like(few), channel, fill=1) == 1
    guided = gradients(coursenet, "conv3", found, few, channel)
    assert outside.any() and (guided[outside] == 0).all() and (guided[~outside] != 0).any()
    field, box = receptive_field(coursenet, "conv3"), found.boxes[channel, 0].tolist()
    at = tuple((box[i] - field.start) // field.stride for i in range(2))
    whole = attribution.gradient(coursenet, few[found.index[channel, :1]], channel, "guided", layer="conv3", at=at)
    assert torch.isclose(guided[0].sum(), whole.sum(), rtol=1e-4)
    assert not torch.equal(guided, gradients(coursenet, "conv3", found, few, channel, "gradient"))


def test_gradients_of_a_fully_connected_unit_cover_the_picture(coursenet, many):
    found = top_patches(coursenet, "fc8", many[:20], 2, progress=False)
    got = gradients(coursenet, "fc8", found, many[:20], 3, "gradient")
    assert got.shape == (2, 3, 96, 96)
    expected = attribution.gradient(coursenet, many[found.index[3]], 3)
    assert torch.allclose(got, expected, atol=1e-5)


# ---------------------------------------------------------------- networks as they come

WRAPPED = {"tensor": lambda a: a, "tuple": lambda a: (a, None), "dict": lambda a: {"out": a}}


class Trained(nn.Module):
    """With batch normalisation and dropout; a layer and the network output what `wrap` makes of a tensor."""

    class Inner(nn.Module):
        def __init__(self, wrap):
            super().__init__()
            self.wrap, self.norm, self.drop = wrap, nn.BatchNorm2d(4), nn.Dropout(0.5)

        def forward(self, x):
            return self.wrap(self.drop(self.norm(x).relu()))

    def __init__(self, wrap="tensor"):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.inner, self.fc = nn.Conv2d(3, 4, 3), self.Inner(WRAPPED[wrap]), nn.Linear(4, 5)
        self.wrap = wrap

    def forward(self, x):
        a = self.inner(self.conv(x))
        a = a[0] if self.wrap == "tuple" else a["out"] if self.wrap == "dict" else a
        return self.inner.wrap(self.fc(a.mean((2, 3))))


@pytest.fixture
def twelve(generator):
    return torch.rand(12, 3, 16, 16, generator=generator)


def same(found, expected, atol=1e-6):
    close = torch.allclose(found.values, expected.values, atol=atol)
    return close and torch.equal(found.index, expected.index) and torch.equal(found.boxes, expected.boxes)


@pytest.mark.parametrize("layer", ["inner", ""])
@pytest.mark.parametrize("wrap", WRAPPED)
def test_patches_of_a_network_in_training_and_of_outputs_that_are_wrapped(twelve, wrap, layer):
    net = Trained(wrap).train()
    net.inner.drop.eval()
    net.conv.weight.grad = torch.ones_like(net.conv.weight)
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    found = top_patches(net, layer, twelve, 3, batch=5)
    plain = Trained().eval()
    maps = plain.inner(plain.conv(twelve)) if layer else plain(twelve)
    values, index, _ = by_sorting(maps.detach(), 3)
    assert np.allclose(found.values, values, atol=1e-6) and np.array_equal(found.index, index)
    got = gradients(net, layer, found, twelve, 2, "guided")
    assert torch.allclose(got, gradients(plain, layer, found, twelve, 2, "guided"), atol=1e-6)
    with pytest.raises(ValueError, match="no ReLU rule"):
        gradients(net, layer, found, twelve, 2, "guide")
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(a, before[name]) for name, a in net.state_dict().items())
    assert torch.equal(net.conv.weight.grad, torch.ones_like(net.conv.weight)) and net.fc.weight.grad is None
    assert not any(m._forward_hooks for m in net.modules()) and all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_patches_under_every_mode_of_gradients(net, twelve, mode):
    expected = top_patches(net, "2", twelve, 3)
    with mode():
        found = top_patches(net, "2", twelve.clone(), 3)
        excites = gradients(net, "2", found, twelve.clone(), 1)
    assert same(found, expected, atol=0) and not found.values.is_inference()
    assert torch.equal(excites, gradients(net, "2", expected, twelve, 1))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.double, 1e-5), (torch.half, 0.05), (torch.bfloat16, 0.3)])
def test_patches_in_every_precision(net, twelve, dtype, atol):
    expected = top_patches(net, "2", twelve, 3)
    other = copy.deepcopy(net).to(dtype)
    found = top_patches(other, "2", twelve.to(dtype), 3)
    assert same(top_patches(other, "2", Tuples(twelve), 3), found)  # a dataset is brought to the network
    assert torch.allclose(found.values, expected.values.to(found.values.dtype), atol=atol)
    got = gradients(other, "2", expected, twelve.to(dtype), 2, "gradient").float()
    assert torch.allclose(got, gradients(net, "2", expected, twelve, 2, "gradient"), atol=atol)


@pytest.mark.parametrize("around", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_patches_of_wrapped_networks(net, twelve, around):
    expected = top_patches(net, "2", twelve, 3)
    assert same(top_patches(around(net), "2", twelve, 3), expected)
    excites = gradients(net, "2", expected, twelve, 1)
    assert torch.allclose(gradients(around(net), "2", expected, twelve, 1), excites, atol=1e-6)


def test_six_threads_share_a_network(twelve):
    net = Trained().train()
    expected = top_patches(Trained(), "inner", twelve, 3, batch=5)
    excites = gradients(Trained(), "inner", expected, twelve, 2)

    def one(_):
        found = top_patches(net, "inner", twelve, 3, batch=5)
        return same(found, expected) and torch.allclose(gradients(net, "inner", found, twelve, 2), excites, atol=1e-6)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(one, range(18)))
    assert net.training


def small_swin():
    return SwinTransformer([4, 4], embed_dim=12, depths=[2, 1], num_heads=[2, 2], window_size=[4, 4])


def small_convnext():
    return ConvNeXt([CNBlockConfig(12, 16, 1), CNBlockConfig(16, None, 1)], num_classes=10)


@pytest.mark.parametrize(
    ("build", "layer"),
    [(small_convnext, "features.1.0.block.3"), (small_swin, "features.1.0.mlp.0"), (small_swin, "features.1")],
)
def test_maps_with_their_channels_last_have_their_channels(build, layer, generator):
    """Rows of these maps were once taken for channels."""
    torch.manual_seed(0)
    net = build().eval()
    x = torch.rand(4, 3, 32, 32, generator=generator)
    seen = []
    handle = net.get_submodule(layer).register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        net(x)
    handle.remove()
    (maps,) = seen
    assert maps.shape[1:3] == (8, 8)
    values, index, _ = by_sorting(maps.permute(0, 3, 1, 2), 2)
    found = top_patches(net, layer, x, 2)
    assert np.allclose(found.values, values, atol=1e-4) and np.array_equal(found.index, index)
    assert found.boxes.shape == (maps.shape[3], 2, 4)
    excites = gradients(net, layer, found, x, maps.shape[3] - 1, "gradient")
    assert len(excites) == 2 and excites.abs().sum() > 0


# ---------------------------------------------------------------- memory


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor had that a call gave back."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        for tensor in answer if isinstance(answer, tuple | list) else [answer]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return answer


class OnTheFly(Dataset):
    """Any number of small pictures, none of them stored."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return torch.full((3, 16, 16), (i * 7919 % 10007) / 10007)


def test_no_tensor_grows_with_the_number_of_pictures(net):
    largest = []
    for n in (100, 1600):
        with Largest() as mode:
            top_patches(net, "2", OnTheFly(n), 5, batch=20, progress=False)
        largest.append(mode.numbers)
    assert largest[0] == largest[1]


MEASURE = """
from pathlib import Path
from torch import nn
from course_lib.patches import top_patches

def peak(n):
    found = top_patches(net, "0", OnTheFly(n), 9, batch=250, progress=False)
    assert found.index.max() < n
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024  # ru_maxrss would begin at what the parent held

torch.set_num_threads(1)
net = nn.Sequential(nn.Conv2d(3, 8, 3))
first = peak(1000)
print(peak(20000) - first)
"""


@pytest.mark.slow
def test_memory_does_not_grow_from_a_thousand_to_twenty_thousand_pictures():
    """The pictures alone would be 58 MiB more, the answers 114 MiB."""
    program = "import torch\nfrom torch.utils.data import Dataset\n" + inspect.getsource(OnTheFly) + MEASURE
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 15


# ---------------------------------------------------------------- what is refused


def test_what_cannot_be_asked_is_refused(net, generator):
    x = torch.rand(5, 3, 16, 16, generator=generator)
    for k in (0, -1, 6):
        with pytest.raises(ValueError, match=f"k must be from 1 to the number of images, 5, got {k}"):
            top_patches(net, "2", x, k, progress=False)
    with pytest.raises(ValueError, match=r"no layer '7'.*choose from 0, 1, 2"):
        top_patches(net, "7", x, 2, progress=False)
    with pytest.raises(ValueError, match="number of images, 0"):
        top_patches(net, "2", x[:0], 1, progress=False)
    found = top_patches(net, "2", x, 2, progress=False)
    for function in (lambda c: crops(found, x, c), lambda c: gradients(net, "2", found, x, c)):
        with pytest.raises(ValueError, match="no channel with number 5: they go from 0 to 4"):
            function(5)
        with pytest.raises(TypeError, match="the channel is a whole number"):
            function(1.0)
        with pytest.raises(ValueError, match="the channel is one int"):
            function([1, 2])
        assert torch.equal(function(np.int64(1)), function(1)) and torch.equal(function(torch.tensor(1)), function(1))
    with pytest.raises(ValueError, match="no rank with number 2: they go from 0 to 1"):
        crops(found, x, 1, ranks=[0, 2])
    with pytest.raises(ValueError, match="the patches are of other images: number 4 is missing among 4"):
        crops(patches.TopPatches(found.values, torch.full_like(found.index, 4), found.boxes), x[:4], 1)
    with pytest.raises(TypeError, match=r"images are float in .0, 1., got torch.uint8"):
        top_patches(net, "2", (255 * x).byte(), 2)
    with pytest.raises(TypeError, match="a network is a torch.nn.Module, got function"):
        top_patches(lambda x: x, "", x, 2)


def test_answers_that_are_not_finite_are_refused(net, generator):
    x = torch.rand(5, 3, 16, 16, generator=generator)
    spoilt = x.clone()
    spoilt[3, 0, 4, 4] = torch.nan
    with pytest.raises(ValueError, match="images hold values that are not finite"):
        top_patches(net, "2", spoilt, 2)
    nn.init.constant_(net[2].bias, torch.inf)
    with pytest.raises(ValueError, match="layer '2' outputs values that are not finite"):
        top_patches(net, "2", x, 2)


def test_an_empty_folder_is_refused(net, tmp_path):
    with pytest.raises(ValueError, match="no images in"):
        top_patches(net, "2", tmp_path, 1, progress=False)


def test_a_layer_that_is_neither_a_row_nor_a_map_is_refused(generator):
    net = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Flatten(2))
    with pytest.raises(ValueError, match="layer '1' outputs .2, 4, 16., which is neither"):
        top_patches(net, "1", torch.rand(2, 3, 16, 16, generator=generator), 1, progress=False)


def test_pictures_of_other_sizes_from_batch_to_batch_are_refused(net):
    class Growing(OnTheFly):
        def __getitem__(self, i):
            return torch.zeros(3, 16 + 4 * (i // 4), 16)

    with pytest.raises(ValueError, match="differ in size"):
        top_patches(net, "2", Growing(8), 2, batch=4, progress=False)


def test_broken_files_are_named_or_left_out_with_a_warning(net, tmp_path):
    for i in range(6):
        Image.new("RGB", (16, 16), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:40])
    with pytest.raises(ValueError, match="3.png cannot be read"):
        top_patches(net, "2", tmp_path, 2, size=16, progress=False)
    with pytest.warns(UserWarning, match="left out: .*3.png"):
        found = top_patches(net, "2", tmp_path, 5, size=16, batch=2, skip_broken=True, progress=False)
    assert all(sorted(row) == [0, 1, 2, 4, 5] for row in found.index.tolist())


@pytest.mark.filterwarnings("ignore:left out")
def test_fewer_readable_files_than_k_are_refused(net, tmp_path):
    """The tables would not be (channels, k)."""
    for i in range(3):
        Image.new("RGB", (16, 16), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match="2"):
        top_patches(net, "2", tmp_path, 3, size=16, skip_broken=True, progress=False)
