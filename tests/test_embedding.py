import copy
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from openTSNE.initialization import random as random_start
from PIL import Image
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from course_lib.embedding import codes, grid, nearest, neighbours, pca, place, skip_gram, tsne
from course_lib.taps import Taps

# ---------------------------------------------------------------- codes


class Counting(Dataset):
    """Pictures that remember who was asked for, and may break off once."""

    def __init__(self, pictures, break_at=None):
        self.pictures, self.break_at, self.asked = pictures, break_at, []

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        if i == self.break_at:
            self.break_at = None
            raise KeyboardInterrupt
        self.asked.append(i)
        return self.pictures[i]


class Small(nn.Module):
    image_size = 8

    def __init__(self, seed=0):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.conv.weight, generator=generator)
        nn.init.normal_(self.conv.bias, generator=generator)

    def forward(self, x):
        return self.conv(x)


@pytest.fixture
def pictures(generator):
    """Twenty, of whole 8-bit values, so that a file holds them exactly."""
    return torch.randint(0, 256, (20, 3, 8, 8), generator=generator) / 255


def write(pictures, folder):
    files = [folder / f"{i:03}.png" for i in range(len(pictures))]
    for picture, file in zip(pictures, files, strict=True):
        Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(file)
    return files


@pytest.mark.parametrize("layer", ["conv3", "fc7", ""])
def test_codes_are_the_flattened_answers(coursenet, scenes, layer):
    got = codes(coursenet, layer, scenes.images, batch=3, progress=False)
    with torch.no_grad():
        expected = Taps(coursenet, layer)(scenes.images)[layer].flatten(1)
    assert got.dtype == torch.float32 and got.device.type == "cpu" and not got.requires_grad
    assert torch.allclose(got, expected, atol=1e-4)


def test_every_kind_of_collection_has_the_same_codes(pictures, tmp_path):
    net, files = Small(), write(pictures, tmp_path)
    expected = codes(net, "conv", pictures, progress=False)
    assert expected.shape == (20, 4 * 3 * 3)
    labelled = [(picture, 7) for picture in pictures]
    for images in (
        tmp_path,
        str(tmp_path),
        files,
        [str(file) for file in files],
        Counting(pictures),
        Counting(labelled),
    ):
        assert torch.equal(codes(net, "conv", images, progress=False), expected)


def test_files_are_resized_to_the_network_unless_told(tmp_path):
    Image.new("RGB", (30, 20), (9, 99, 199)).save(tmp_path / "a.png")
    assert codes(Small(), "conv", tmp_path, progress=False).shape == (1, 4 * 3 * 3)
    assert codes(Small(), "conv", tmp_path, size=11, progress=False).shape == (1, 4 * 5 * 5)


def test_each_picture_is_computed_once(pictures):
    dataset = Counting(pictures)
    codes(Small(), "conv", dataset, batch=8, progress=False)
    assert dataset.asked == list(range(20))


def test_codes_in_a_file_are_those_in_memory(pictures, tmp_path):
    net, path = Small(), tmp_path / "codes.npy"
    expected = codes(net, "conv", pictures, batch=7, progress=False)
    assert torch.equal(codes(net, "conv", pictures, batch=7, out=path, progress=False), expected)
    stored = np.load(path)
    assert stored.dtype == np.float32 and np.array_equal(stored, expected.numpy())
    assert [file.name for file in tmp_path.iterdir()] == ["codes.npy"]


def test_the_same_call_goes_on_where_it_was_interrupted(pictures, tmp_path):
    net, path, dataset = Small(), tmp_path / "codes.npy", Counting(pictures, break_at=13)
    options = {"batch": 4, "out": path, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        codes(net, "conv", dataset, **options)
    assert np.isnan(np.load(path)).any(1).tolist() == [False] * 12 + [True] * 8

    dataset.asked.clear()
    got = codes(net, "conv", dataset, **options)
    assert dataset.asked == [*range(4), *range(12, 20)]  # the first batch again, to compare
    assert torch.equal(got, codes(net, "conv", pictures, batch=4, progress=False))

    dataset.asked.clear()
    codes(net, "conv", dataset, **options)
    assert dataset.asked == [*range(4)]


def test_a_file_of_other_codes_is_refused_and_kept(pictures, tmp_path):
    path = tmp_path / "codes.npy"
    codes(Small(), "conv", pictures, out=path, progress=False)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"codes.npy holds other codes than those of layer 'conv'"):
        codes(Small(seed=1), "conv", pictures, out=path, progress=False)
    with pytest.raises(ValueError, match=r"codes.npy holds float32 \(20, 36\).*float32 \(19, 36\)"):
        codes(Small(), "conv", pictures[:19], out=path, progress=False)
    with pytest.raises(ValueError, match=r"codes.npy holds float32 \(20, 36\)"):
        codes(Small(), "conv", torch.rand(20, 3, 11, 11), out=path, progress=False)
    assert path.read_bytes() == before


def test_a_file_of_another_type_is_refused(pictures, tmp_path):
    path = tmp_path / "codes.npy"
    np.save(path, np.zeros((20, 36)))
    with pytest.raises(ValueError, match="codes.npy holds float64"):
        codes(Small(), "conv", pictures, out=path, progress=False)


@pytest.mark.parametrize("content", [b"", b"not an array"], ids=["empty", "text"])
def test_a_file_that_holds_no_codes_is_refused_by_name(pictures, tmp_path, content):
    path = tmp_path / "codes.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="codes.npy"):
        codes(Small(), "conv", pictures, out=path, progress=False)


def break_files(files):
    """Number 5 is no picture, number 11 was cut short."""
    files[5].write_bytes(b"not a picture")
    files[11].write_bytes(files[11].read_bytes()[:-40])


@pytest.mark.parametrize("to_file", [False, True])
def test_broken_files_are_named_or_left_out(pictures, tmp_path, to_file):
    files = write(pictures, tmp_path)
    break_files(files)
    out = tmp_path / "codes.npy" if to_file else None
    options = {"batch": 4, "out": out, "progress": False}
    with pytest.raises(ValueError, match="005.png cannot be read as an image"):
        codes(Small(), "conv", tmp_path, **options)
    with pytest.raises(ValueError, match="011.png cannot be read as an image"):
        codes(Small(), "conv", files[8:], batch=4, progress=False)
    with pytest.warns(UserWarning, match="left out: ") as warned:
        got = codes(Small(), "conv", tmp_path, skip_broken=True, **options)
    text = " ".join(str(each.message) for each in warned)
    assert "005.png" in text and "011.png" in text and "006.png" not in text
    assert got.isnan().all(1).nonzero()[:, 0].tolist() == [5, 11]
    good = [i for i in range(20) if i not in (5, 11)]
    assert torch.equal(got[good], codes(Small(), "conv", pictures[good], progress=False))


@pytest.mark.filterwarnings("ignore:left out")
def test_nothing_but_broken_files_is_refused(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="no image could be read"):
        codes(Small(), "conv", tmp_path, skip_broken=True, progress=False)


def test_unknown_layers_and_empty_collections_are_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match=r"no layer 'conf' \(did you mean 'conv'"):
        codes(Small(), "conf", pictures, progress=False)
    with pytest.raises(ValueError, match="no images: the collection is empty"):
        codes(Small(), "conv", pictures[:0], progress=False)
    with pytest.raises(ValueError, match="no images in"):
        codes(Small(), "conv", tmp_path, progress=False)


WRAPPED = {"tensor": lambda a: a, "tuple": lambda a: (a, None), "dict": lambda a: {"out": a}}


class Trained(nn.Module):
    """With batch normalisation and dropout; its layers and itself output what `wrap` makes of a tensor."""

    class Inner(nn.Module):
        def __init__(self, wrap):
            super().__init__()
            self.wrap, self.norm, self.drop = wrap, nn.BatchNorm2d(4), nn.Dropout(0.5)

        def forward(self, x):
            return self.wrap(self.drop(self.norm(x)))

    def __init__(self, wrap="tensor"):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.inner, self.fc = nn.Conv2d(3, 4, 3, stride=2), self.Inner(WRAPPED[wrap]), nn.Linear(36, 5)
        self.wrap = wrap

    def forward(self, x):
        a = self.inner(self.conv(x))
        a = a[0] if self.wrap == "tuple" else a["out"] if self.wrap == "dict" else a
        return self.inner.wrap(self.fc(a.flatten(1)))


@pytest.mark.parametrize("layer", ["inner", ""])
@pytest.mark.parametrize("wrap", WRAPPED)
def test_codes_of_a_network_in_training_and_of_outputs_that_are_wrapped(pictures, wrap, layer):
    net = Trained(wrap).train()
    net.inner.drop.eval()
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    got = codes(net, layer, pictures)
    plain = Trained().eval()
    expected = plain(pictures) if layer == "" else plain.inner(plain.conv(pictures))
    assert torch.allclose(got, expected.flatten(1), atol=1e-6)
    with pytest.raises(ValueError, match="not finite"):
        codes(net, layer, pictures.clone().index_fill_(0, torch.tensor(3), torch.nan))
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(a, before[name]) for name, a in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_codes_under_every_mode_of_gradients_can_be_used_afterwards(pictures, mode):
    with mode():
        got = codes(Small(), "conv", pictures.clone())
    assert not got.is_inference() and torch.equal(got, codes(Small(), "conv", pictures))


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.double])
def test_images_come_in_the_precision_of_the_network(pictures, tmp_path, dtype):
    write(pictures, tmp_path)
    expected = codes(Small(), "conv", pictures)
    for images in (pictures.to(dtype), tmp_path, Counting(pictures)):  # files and datasets hold float32
        got = codes(Small().to(dtype), "conv", images)
        assert got.dtype == torch.float32 and torch.allclose(got, expected, atol=0.1)
    with pytest.raises(TypeError, match=f"the network computes in {dtype} and the images are torch.float32"):
        codes(Small().to(dtype), "conv", pictures)
    with pytest.raises(TypeError, match=r"images are float in \[0, 1\], got torch.uint8; divide 8-bit values by 255"):
        codes(Small().to(dtype), "conv", (pictures * 255).byte())


@pytest.mark.parametrize("around", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_codes_of_wrapped_networks(pictures, around):
    assert torch.equal(codes(around(Small()), "conv", pictures), codes(Small(), "conv", pictures))


def test_a_map_with_its_channels_last_is_flattened_channel_by_channel(pictures):
    """As in Swin and ConvNeXt."""

    class Last(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x).permute(0, 2, 3, 1)).mean((1, 2))

    net = Last(nn.Conv2d(3, 4, 3), nn.Linear(4, 5))
    with torch.no_grad():
        expected = net[1](net[0](pictures).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).flatten(1)
    assert torch.allclose(codes(net, "1", pictures), expected, atol=1e-6)


def test_six_threads_share_a_network(pictures):
    net, expected = Trained().train(), codes(Trained(), "inner", pictures)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: codes(net, "inner", pictures, batch=5), range(24)))
    assert all(torch.allclose(one, expected, atol=1e-6) for one in found) and net.training


def test_outputs_that_are_no_codes_are_refused(pictures):
    net = Small()
    nn.init.constant_(net.conv.bias, torch.inf)
    with pytest.raises(ValueError, match="layer 'conv' outputs values that are not finite"):
        codes(net, "conv", pictures)
    turned = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(0, 1))
    with pytest.raises(ValueError, match=r"layer '1' outputs \(64, 6, 6\) for 16 images"):
        codes(turned, "1", pictures)
    with pytest.raises(TypeError, match="a network is a torch.nn.Module, got function"):
        codes(lambda x: x, "", pictures)


# ---------------------------------------------------------------- neighbours

KINDS = {
    "plain": lambda n, d, g: torch.randn(n, d, generator=g),
    "float64": lambda n, d, g: torch.randn(n, d, generator=g, dtype=torch.double),
    "offset": lambda n, d, g: torch.randn(n, d, generator=g) + 1000,
    "offset, float64": lambda n, d, g: torch.randn(n, d, generator=g, dtype=torch.double) + 1000,
    "whole numbers": lambda n, d, g: torch.randint(-(10**6), 10**6, (n, d), generator=g),
    "two clusters": lambda n, d, g: torch.randn(n, d, generator=g) + 1000 * (torch.arange(n) % 2)[:, None],
    "one far away": lambda n, d, g: torch.randn(n, d, generator=g) + 1e6 * (torch.arange(n) == 0)[:, None],
    "many scales": lambda n, d, g: torch.randn(n, d, generator=g) * 10.0 ** torch.linspace(-3, 3, n)[:, None],
}
SHAPES = [(1, 1, 1, 1), (50, 3, 4, 50), (129, 20, 17, 5), (200, 16, 1, 7), (64, 300, 9, 64)]  # n, d, q, k


# Where float32 tells any two distances apart
RESOLVED = {"cosine": {"plain", "float64", "offset, float64"}, "l2": {"plain", "float64", "offset", "offset, float64"}}


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nearest_equals_brute_force(shape, kind, metric, generator, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 64)
    n, d, q, k = shape
    table, queries = KINDS[kind](n, d, generator), KINDS[kind](q, d, generator)
    values, indices = nearest(table, queries, k, metric)
    assert values.shape == indices.shape == (q, k) and indices.dtype == torch.long
    assert all(len(set(row)) == k for row in indices.tolist())

    codes, asked = table.double(), queries.double()
    everything = (codes[None] - asked[:, None]).norm(dim=2)  # (q, n)
    if metric == "cosine":
        everything = (asked @ codes.T) / asked.norm(dim=1)[:, None] / codes.norm(dim=1)
    expected = everything.sort(dim=1, descending=metric == "cosine").values[:, :k]
    close = {"rtol": 1e-5, "atol": 2e-6 if metric == "cosine" else 0}
    assert torch.allclose(everything.gather(1, indices), expected, **close)  # no other code is nearer
    assert torch.allclose(values.double(), expected, **close)

    name = "cosine" if metric == "cosine" else "euclidean"
    peer = NearestNeighbors(n_neighbors=k, algorithm="brute", metric=name).fit(codes.numpy())
    if kind in RESOLVED[metric] and d > 1:
        assert np.array_equal(indices.numpy(), peer.kneighbors(asked.numpy(), return_distance=False))


def test_euclidean_is_l2(generator):
    table = torch.randn(40, 5, generator=generator)
    for one, other in zip(nearest(table, table, 3, "l2"), nearest(table, table, 3, "euclidean"), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_one_query_is_a_row(metric, generator):
    table = torch.randn(40, 5, generator=generator)
    values, indices = nearest(table, table[7], 3, metric)
    assert values.shape == indices.shape == (3,)
    assert indices[0] == 7 and torch.isclose(values[0], torch.tensor(1.0 if metric == "cosine" else 0.0), atol=1e-6)
    assert torch.equal(indices, nearest(table, table[7:8], 3, metric)[1][0])


def test_neighbours_by_hand():
    table = torch.tensor([[3.0, 4.0], [0.0, 1.0], [-3.0, -4.0], [6.0, 8.0]])
    values, indices = nearest(table, torch.tensor([3.0, 0.0]), 4, "l2")
    assert indices.tolist() == [1, 0, 2, 3] and torch.allclose(values**2, torch.tensor([10.0, 16, 52, 73]))
    values, indices = nearest(table[:3], torch.tensor([0.0, 2.0]), 3)
    assert indices.tolist() == [1, 0, 2] and torch.allclose(values, torch.tensor([1, 0.8, -0.8]))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_mapped_codes_are_searched_and_not_written(metric, tmp_path, generator):
    table = torch.randn(300, 6, generator=generator)
    np.save(tmp_path / "codes.npy", table.numpy())
    before = (tmp_path / "codes.npy").read_bytes()
    mapped = torch.from_numpy(np.load(tmp_path / "codes.npy", mmap_mode="r+"))
    for got, expected in zip(nearest(mapped, table[:4], 5, metric), nearest(table, table[:4], 5, metric), strict=True):
        assert torch.equal(got, expected)
    del mapped
    assert (tmp_path / "codes.npy").read_bytes() == before


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor had that a call made (a view makes none)."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        for tensor in answer if isinstance(answer, tuple | list) else [answer]:
            if isinstance(tensor, torch.Tensor) and tensor._base is None:
                self.numbers = max(self.numbers, tensor.numel())
        return answer


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_table_of_all_distances_is_never_whole(metric, generator, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 64)
    table, queries = torch.randn(5000, 8, generator=generator), torch.randn(50, 8, generator=generator)
    with Largest() as mode:
        nearest(table, queries, 3, metric)
    assert 50 * 64 <= mode.numbers <= 50 * 64 + 5000 * 8 / 4  # 250 000 would be the whole


def test_what_has_no_neighbours_is_refused(generator):
    table = torch.randn(30, 4, generator=generator)
    for k in (0, -1, 31):
        with pytest.raises(ValueError, match=f"k must be from 1 to the number of codes, 30, got {k}"):
            nearest(table, table, k)
    with pytest.raises(ValueError, match=r"no metric 'cosin' \(did you mean 'cosine'\?\); choose from cosine, l2"):
        nearest(table, table, 3, "cosin")
    with pytest.raises(ValueError, match="codes have 4 numbers and queries 5"):
        nearest(table, torch.zeros(2, 5), 3)
    with pytest.raises(ValueError, match=r"codes have shape \(n, d\), got \(30,\)"):
        nearest(table[:, 0], table, 3)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_codes_of_half_precision_are_compared_in_full(metric, dtype, generator):
    table, queries = (300 * torch.randn(n, 60, generator=generator).to(dtype) for n in (200, 5))  # squares beyond half
    values, indices = nearest(table, queries, 4, metric)
    expected, order = nearest(table.double(), queries.double(), 4, metric)
    assert torch.equal(indices, order) and torch.allclose(values.double(), expected, rtol=1e-4)


def test_codes_may_be_arrays_and_lists(generator):
    table = torch.randn(20, 3, generator=generator)
    values, indices = nearest(table, table[:2], 3)
    for of in (np.asarray, np.ndarray.tolist):
        found = nearest(of(table.numpy()), of(table[:2].numpy()), 3)
        assert torch.equal(found[1], indices) and torch.allclose(found[0], values, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_codes_that_are_not_finite_are_named(metric, bad, generator, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 8)
    table = torch.randn(30, 4, generator=generator)
    table[[7, 21], 2] = bad
    with pytest.raises(ValueError, match="2 of 30 codes are not finite, in rows 7, 21"):
        nearest(table, table[:3], 3, metric)
    with pytest.raises(ValueError, match="1 of 2 queries are not finite, in rows 1"):
        nearest(table[:7], table[6:8], 3, metric)


def test_zeros_have_a_distance_but_no_cosine(generator):
    table = torch.randn(30, 4, generator=generator)
    zeroed = table.clone()
    zeroed[9] = 0
    with pytest.raises(ValueError, match="a code is zero .* metric='l2'"):
        nearest(zeroed, table, 3)
    with pytest.raises(ValueError, match="a query is zero"):
        nearest(table, zeroed, 3)
    values, indices = nearest(zeroed, torch.zeros(4), 1, "l2")
    assert indices.tolist() == [9] and values.tolist() == [0]


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize(("n", "d", "components"), [(150, 4, 2), (20, 50, 5), (30, 3, 3), (40, 1, 1)])
def test_pca_equals_scikit_learn_up_to_the_sign(n, d, components, generator):
    table = torch.randn(n, d, generator=generator) * torch.arange(1, d + 1) + 10
    got = pca(table, components)
    expected = torch.from_numpy(PCA(components, svd_solver="full").fit_transform(table.numpy()))
    assert got.shape == (n, components)
    assert torch.allclose(got * (got * expected).sum(0).sign(), expected, atol=1e-3)


def test_pca_equals_the_singular_value_decomposition(generator):
    table = torch.randn(60, 7, generator=generator, dtype=torch.double)
    u, s, _ = torch.linalg.svd(table - table.mean(0), full_matrices=False)
    got = pca(table, 3)
    assert torch.allclose(got.abs(), (u * s)[:, :3].abs())


def test_pca_refuses_what_it_cannot_do():
    for components in (0, 5):
        with pytest.raises(ValueError, match="components must be from 1 to 4"):
            pca(torch.rand(10, 4), components)
    with pytest.raises(ValueError, match="1 of 3 codes are not finite, in rows 2"):
        pca(torch.tensor([[1.0, 2], [3, 4], [torch.nan, 0]]))


@pytest.fixture(scope="module")
def iris():
    data = load_iris()
    return torch.from_numpy(data.data), data.target


@pytest.fixture(scope="module")
def iris_map(iris):
    return tsne(iris[0], seed=3)


def accuracy(points, labels):
    return KNeighborsClassifier(10).fit(points, labels).score(points, labels)


def test_tsne_brings_the_kinds_of_iris_together(iris, iris_map):
    table, kinds = iris
    start = random_start(table.numpy(), random_state=0)
    assert accuracy(start, kinds) < 0.5
    assert iris_map.shape == (150, 2) and iris_map.isfinite().all()
    assert accuracy(iris_map.numpy(), kinds) > 0.95


def test_one_seed_gives_one_map(iris, iris_map):
    state = torch.random.get_rng_state()
    assert torch.equal(tsne(iris[0], seed=3), iris_map)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_tsne_refuses_what_it_cannot_do(iris):
    table = iris[0]
    for perplexity in (50, 200, 1, 0):
        with pytest.raises(ValueError, match=f"below n / 3 = 50.0, got {perplexity}"):
            tsne(table, perplexity=perplexity)
    spoilt = table.clone()
    spoilt[17, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 150 codes are not finite, in rows 17"):
        tsne(spoilt)


def test_codes_that_are_all_the_same_have_no_map(iris, iris_map):
    same = torch.ones(60, 4)
    for function in (
        lambda: tsne(same, perplexity=5),
        lambda: pca(same),
        lambda: place(iris[0][:3], same, iris_map[:60], perplexity=5),
    ):
        with pytest.raises(ValueError, match="all codes are the same"):
            function()
    with pytest.raises(ValueError, match="all points are the same"):
        place(iris[0][:3], iris[0], torch.ones(150, 2))


def test_codes_that_come_many_times_have_a_map(iris):
    """A third of all are one and the same."""
    table = iris[0].clone()
    table[:50] = table[0]
    assert tsne(table, perplexity=10).isfinite().all()
    assert place(table[:2], table, tsne(table, perplexity=10), perplexity=10).isfinite().all()


@pytest.mark.slow
def test_new_digits_find_their_kind_and_the_old_ones_stay():
    table, kinds = load_digits(return_X_y=True)
    table, kinds = torch.from_numpy(table[:600]), kinds[:600]
    shuffled = torch.randperm(600, generator=torch.Generator().manual_seed(0))  # not by who wrote them
    old, new = shuffled[:480], shuffled[480:]
    points = tsne(table[old])
    before = points.clone()
    found = place(table[new], table[old], points)
    assert torch.equal(points, before)
    assert found.shape == (120, 2) and found.isfinite().all()
    voters = KNeighborsClassifier(5).fit(points.numpy(), kinds[old])
    assert voters.score(found.numpy(), kinds[new]) > 0.85
    assert torch.equal(place(table[new], table[old], points), found)


def test_an_old_code_is_placed_near_its_old_point(iris, iris_map):
    found = place(iris[0][[5, 75, 145]], iris[0], iris_map)
    apart = (found - iris_map[[5, 75, 145]]).norm(dim=1)
    assert (apart < 0.1 * (iris_map.amax(0) - iris_map.amin(0)).norm()).all()


def test_place_refuses_what_does_not_belong_together(iris, iris_map):
    with pytest.raises(ValueError, match="the map has 149 points for 150 codes"):
        place(iris[0][:3], iris[0], iris_map[:149])
    with pytest.raises(ValueError, match="1 of 1 new codes are not finite"):
        place(torch.full((1, 4), torch.nan), iris[0], iris_map)
    with pytest.raises(ValueError, match="codes have 4 numbers and new codes 3"):
        place(iris[0][:3, :3], iris[0], iris_map)
    with pytest.raises(ValueError, match=r"points have shape \(n, 2\), got \(150, 4\)"):
        place(iris[0][:3], iris[0], iris[0])


# ---------------------------------------------------------------- the grid


def ways(points, table):
    """The sum of squared ways from the points, stretched to the unit square, to their cells."""
    rows, columns = table.shape
    spread = (points - points.amin(0)) / (points.amax(0) - points.amin(0))
    total = 0.0
    for row, column in itertools.product(range(rows), range(columns)):
        if (i := int(table[row, column])) >= 0:
            x, y = column / (columns - 1), 1 - row / (rows - 1)
            total += float((spread[i, 0] - x) ** 2 + (spread[i, 1] - y) ** 2)
    return total


@pytest.mark.parametrize("n", [20, 25])
def test_each_point_gets_one_cell_and_the_others_stay_empty(n, generator):
    got = grid(torch.randn(n, 2, generator=generator), 5, 5)
    assert got.shape == (5, 5)
    assert sorted(got.flatten().tolist()) == [-1] * (25 - n) + list(range(n))


@pytest.mark.parametrize(("rows", "columns"), [(4, 6), (6, 4), (5, 5), (2, 9)])
def test_points_on_a_lattice_keep_their_cells(rows, columns, generator):
    """x along the columns, y up the rows."""
    numbers = torch.randperm(rows * columns, generator=generator).reshape(rows, columns)
    points = torch.empty(rows * columns, 2)
    for row, column in itertools.product(range(rows), range(columns)):
        points[numbers[row, column]] = torch.tensor([10.0 + 3 * column, -0.5 * row])
    assert torch.equal(grid(points, rows, columns), numbers)


def test_a_grid_worked_by_hand():
    """Two points crowd the upper right corner: the one nearer to the upper left cell has to give way."""
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.9, 1.0], [1.0, 0.0]])
    assert grid(points, 2, 2).tolist() == [[2, 1], [0, 3]]
    # In a row, order decides: 0.5, 0.55 and 0.6 go to 0.25, 0.5 and 0.75, though 0.5 has a cell of its own
    row = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.55, 0.0], [0.6, 0.0], [1.0, 0.0]])
    assert grid(row, 1, 5).tolist() == [[0, 1, 2, 3, 4]]
    # Cells at 0, 1/3, 2/3, 1: the third stays empty
    assert grid(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.1, 0.0]]), 1, 4).tolist() == [[1, 2, -1, 0]]


def arrangements(n, rows, columns):
    for order in itertools.permutations([*range(n), *[-1] * (rows * columns - n)]):
        yield torch.tensor(order).reshape(rows, columns)


@pytest.mark.parametrize(("n", "rows", "columns"), [(6, 2, 3), (5, 3, 2), (4, 2, 2), (3, 2, 2)])
def test_no_arrangement_has_shorter_ways(n, rows, columns, generator):
    points = torch.randn(n, 2, generator=generator)
    least = min(ways(points, table) for table in arrangements(n, rows, columns))
    assert ways(points, grid(points, rows, columns)) == pytest.approx(least, abs=1e-6)


def test_grids_of_one_row_one_column_and_one_point():
    points = torch.tensor([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0]])
    assert grid(points, 1, 3).tolist() == [[1, 2, 0]]
    assert grid(points, 3, 1).tolist() == [[1], [2], [0]]
    assert grid(points[:1], 1, 1).tolist() == [[0]]
    assert sorted(grid(torch.ones(4, 2), 2, 2).flatten().tolist()) == [0, 1, 2, 3]


def test_a_grid_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="7 points do not fit into 2 x 3 cells"):
        grid(torch.rand(7, 2), 2, 3)
    with pytest.raises(ValueError, match=r"points have shape \(n, 2\), got \(7, 3\)"):
        grid(torch.rand(7, 3), 3, 3)
    with pytest.raises(ValueError, match="1 of 4 points are not finite, in rows 2"):
        grid(torch.tensor([[0.0, 0], [1, 1], [torch.nan, 0], [2, 2]]), 2, 2)


# ---------------------------------------------------------------- word vectors


def sessions(generator, make):
    """Sessions of six words, of one of two vocabularies of eight words each."""
    chosen = torch.randint(0, 8, (300, 6), generator=generator).tolist()
    return [[make(8 * (i % 2) + word) for word in session] for i, session in enumerate(chosen)]


@pytest.mark.parametrize("make", [int, lambda i: f"w{i}", lambda i: ("query", i)], ids=["int", "str", "tuple"])
def test_words_that_share_contexts_end_up_near(make, generator):
    found = skip_gram(sessions(generator, make), 8, progress=False)
    assert found.vectors.shape == (16, 8) and len(found.words) == 16 and not found.vectors.requires_grad
    _, neighbours = nearest(found.vectors, found.vectors, 8)
    first = {make(i) for i in range(8)}
    for row in neighbours.tolist():
        assert len({found.words[i] in first for i in row}) == 1  # all eight of its own vocabulary


def test_words_that_replace_each_other_end_up_near():
    """ "tea" and "coffee" never meet, but keep the same company."""
    sequences = [[drink, "cup", "hot", "drink"] for drink in ("tea", "coffee")] * 40
    sequences += [["rain", "wind", "cold", "street"], ["snow", "wind", "cold", "street"]] * 40
    found = skip_gram(sequences, 6, progress=False)
    tea, coffee, snow = (found.vectors[found.words.index(word)] for word in ("tea", "coffee", "snow"))
    assert torch.cosine_similarity(tea, coffee, 0) > 0.9
    assert torch.cosine_similarity(tea, snow, 0) < 0.5


def test_one_seed_gives_one_set_of_vectors(generator):
    sequences = sessions(generator, int)[:50]
    state = torch.random.get_rng_state()
    first, again, other = (skip_gram(sequences, 5, seed, epochs=2, progress=False) for seed in (1, 1, 2))
    assert first.words == again.words == other.words
    assert torch.equal(first.vectors, again.vectors)
    assert not torch.allclose(first.vectors, other.vectors, atol=1e-3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_words_come_in_order_of_frequency():
    found = skip_gram([["b", "a", "c", "a"], ["a", "b"]], 2, epochs=1, progress=False)
    assert found.words == ("a", "b", "c")


def test_each_step_follows_the_gradient_of_the_formula(monkeypatch):
    """By hand: each neighbour and each random word c adds e u_c to the slope of v and e v to that of u_c.

    e is sigma(<v, u_c>), less 1 for the neighbour.
    """
    steps, drawn, multinomial, randperm = [], [], torch.multinomial, torch.randperm

    class Recorder(torch.optim.SGD):
        def step(self):
            v, u = self.param_groups[0]["params"]
            steps.append([each.detach().clone() for each in (v, u, v.grad, u.grad)])
            super().step()

    def record(*args, **kwargs):
        drawn.append(multinomial(*args, **kwargs))
        return drawn[-1]

    orders = []
    monkeypatch.setattr(torch.optim, "Adam", Recorder)
    monkeypatch.setattr(torch, "multinomial", record)
    monkeypatch.setattr(
        torch, "randperm", lambda *args, **kwargs: orders.append(randperm(*args, **kwargs)) or orders[-1]
    )
    skip_gram([["b", "a", "b"]], 3, seed=5, window=1, negatives=4, epochs=3, progress=False)

    # words by frequency: b is 0, a is 1; the pairs in the order of the text
    pairs = [(0, 1), (1, 0), (1, 0), (0, 1)]
    walked = [pairs[i] for order in orders for i in order]
    assert len(steps) == len(drawn) == len(walked) == 12
    for (v, u, v_slope, u_slope), random, (word, near) in zip(steps, drawn, walked, strict=True):
        expected_v, expected_u = torch.zeros(2, 3), torch.zeros(2, 3)
        for other, label in [(near, 1), *[(int(r), 0) for r in random.flatten()]]:
            error = torch.sigmoid(v[word] @ u[other]) - label
            expected_v[word] += error * u[other]
            expected_u[other] += error * v[word]
        assert torch.allclose(v_slope, expected_v, atol=1e-6)
        assert torch.allclose(u_slope, expected_u, atol=1e-6)
        assert random.numel() == 4
    assert any(v_slope.abs().max() > 1e-3 for _, _, v_slope, _ in steps)


def test_random_words_are_drawn_by_frequency_to_the_three_quarters(monkeypatch):
    weights, multinomial = [], torch.multinomial
    monkeypatch.setattr(
        torch, "multinomial", lambda w, *args, **kwargs: weights.append(w) or multinomial(w, *args, **kwargs)
    )
    skip_gram([["a"] * 16 + ["b"]], 2, epochs=1, progress=False)
    share = weights[0] / weights[0].sum()
    assert torch.allclose(share, torch.tensor([8 / 9, 1 / 9], dtype=share.dtype))


@pytest.mark.slow
def test_the_window_says_who_is_a_neighbour(generator):
    """In a-b-c, with a window of 1, only b meets both; with 2, all meet all: c is then predicted from a."""
    sequences = [["a", "b", "c"]] * 200
    narrow, wide = (skip_gram(sequences, 4, window=w, epochs=30, progress=False) for w in (1, 2))
    vectors = {word: narrow.vectors[narrow.words.index(word)] for word in "abc"}
    assert torch.cosine_similarity(vectors["a"], vectors["c"], 0) > 0.9  # both only ever meet b
    assert torch.cosine_similarity(vectors["a"], vectors["b"], 0) < 0.5
    assert not torch.allclose(narrow.vectors, wide.vectors, atol=1e-2)


def test_sequences_of_single_words_are_refused():
    for sequences in ([], [[]], [["a"], ["b"]], [[1], []]):
        with pytest.raises(ValueError, match="no sequence has two words"):
            skip_gram(sequences, 4, progress=False)


@pytest.mark.parametrize("sequences", [["the cat sat"], "the cat sat", [["a", "b"], "the cat sat"], [b"the cat sat"]])
def test_a_sequence_that_is_a_string_is_refused(sequences):
    """Its words would be letters."""
    with pytest.raises(TypeError, match="a sequence is a list of words, got the string b?'the cat sat'; split it"):
        skip_gram(sequences, 4)


def test_sequences_may_be_generators_arrays_and_tensors():
    numbers = torch.tensor([[1, 2, 3], [2, 3, 1]])
    expected = skip_gram(numbers.tolist(), 3, epochs=2)
    assert expected.words == (1, 2, 3)
    for same in (numbers, numbers.numpy(), list(numbers), (row for row in numbers.tolist())):
        found = skip_gram(same, 3, epochs=2)
        assert found.words == expected.words and torch.equal(found.vectors, expected.vectors)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_words_are_learnt_under_every_mode_of_gradients(mode):
    expected = skip_gram([["a", "b", "c"]], 3, epochs=2)
    with mode():
        found = skip_gram([["a", "b", "c"]], 3, epochs=2)
    assert torch.equal(found.vectors, expected.vectors) and not found.vectors.is_inference()


@pytest.mark.parametrize("name", ["dim", "window", "negatives"])
def test_skip_gram_refuses_nothing_to_learn_with(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        skip_gram([["a", "b"]], **{"dim": 2, name: 0})
