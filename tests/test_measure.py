import copy
import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from scipy.spatial.distance import pdist
from skimage.metrics import peak_signal_noise_ratio
from sklearn.covariance import ShrunkCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import auc, jaccard_score, roc_auc_score
from torch import nn

from course_lib import measure, world
from course_lib.inputs import Label


def test_pointing_game_by_hand():
    heat = torch.zeros(2, 1, 4, 4)
    heat[0, 0, 1, 2] = heat[1, 0, 3, 3] = 1
    masks = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    masks[:, 0, :2] = True
    assert measure.pointing_game(heat, masks).tolist() == [True, False]


def test_iou_equals_scikit_learn_on_the_hottest_pixels(generator):
    heat = torch.rand(5, 1, 20, 20, generator=generator)
    masks = torch.rand(5, 1, 20, 20, generator=generator) < torch.linspace(0.1, 0.9, 5)[:, None, None, None]
    for got, values, mask in zip(measure.iou(heat, masks), heat.flatten(1), masks.flatten(1), strict=True):
        hot = values >= values.sort(descending=True).values[int(mask.sum()) - 1]
        assert torch.isclose(got.double(), torch.tensor(jaccard_score(mask.numpy(), hot.numpy())).double())


def test_a_perfect_and_an_inverted_map(generator):
    masks = torch.rand(3, 1, 30, 30, generator=generator) < 0.3
    assert measure.iou(masks.float(), masks).tolist() == [1, 1, 1]
    assert measure.iou(-masks.float(), masks).max() == 0
    assert measure.pointing_game(masks.float(), masks).all()


def test_iou_of_a_random_map_is_the_stated_chance(generator):
    masks = torch.zeros(200, 1, 40, 40, dtype=torch.bool)
    masks[..., :8, :] = True  # p = 0.2
    scores = measure.iou(torch.rand(200, 1, 40, 40, generator=generator), masks)
    assert abs(float(scores.mean()) - 0.2 / 1.8) < 0.01


def test_intervals_cover_the_truth_about_19_times_in_20(generator):
    for draw in (
        lambda: torch.rand(100, generator=generator) < 0.3,
        lambda: 0.3 + torch.randn(100, generator=generator),
    ):
        intervals = [measure.interval(draw()) for _ in range(400)]
        covered = sum(i.low <= 0.3 <= i.high for i in intervals) / 400
        assert 0.92 < covered < 0.98


def test_bad_maps_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        measure.iou(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 5, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="empty"):
        measure.pointing_game(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="values up to 255; write masks > 0"):
        measure.pointing_game(torch.rand(2, 1, 4, 4), torch.ones(2, 1, 4, 4).byte() * 255)
    with pytest.raises(TypeError, match="maps are a torch tensor"):
        measure.iou(np.zeros((1, 1, 4, 4)), torch.ones(1, 1, 4, 4).bool())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_maps_that_are_not_finite_are_named(bad):
    heat, masks, x = torch.rand(3, 1, 4, 4), torch.ones(3, 1, 4, 4).bool(), torch.rand(3, 3, 4, 4)
    heat[1, 0, 2, 2] = bad
    for function in (
        lambda: measure.pointing_game(heat, masks),
        lambda: measure.iou(heat, masks),
        lambda: measure.deletion(brightness, x, 1, heat, steps=2),
        lambda: measure.insertion(brightness, x, 1, heat, steps=2),
    ):
        with pytest.raises(ValueError, match=r"maps \[1\] hold values that are not finite"):
            function()


def test_masks_of_zeros_and_ones_of_any_dtype_are_masks():
    heat = torch.rand(4, 1, 6, 6)
    masks = torch.rand(4, 1, 6, 6) < 0.5
    masks[:, :, 0] = True
    for same in (masks.byte(), masks.float(), masks.long()):
        assert torch.equal(measure.iou(heat, same), measure.iou(heat, masks))
        assert torch.equal(measure.pointing_game(heat, same), measure.pointing_game(heat, masks))


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_map_that_is_the_same_everywhere_points_at_nothing(value):
    """Its first pixel is on the object, and so would be counted as a hit."""
    heat = torch.full((2, 1, 4, 4), value)
    heat[1, 0, 0, 1] += 1
    masks = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    masks[:, :, :2] = True
    assert measure.pointing_game(heat, masks).tolist() == [False, True]
    overlaps = torch.stack([measure.iou(heat, each) for each in (masks, ~masks)])  # whichever pixels come first
    assert overlaps[:, 0].tolist() == [0, 0] and overlaps[0, 1] > 0


# ---------------------------------------------------------------- what explains a unit


def test_auc_is_that_of_scikit_learn_with_ties_too(generator):
    values = torch.randint(0, 6, (90, 5), generator=generator).float()
    positive = torch.rand(90, generator=generator) < 0.3
    expected = [roc_auc_score(positive, unit) for unit in values.T]
    assert measure.auc(values, positive).tolist() == pytest.approx(expected)


def test_the_interval_of_an_auc_holds_the_true_one_95_times_in_100(generator):
    positive = torch.arange(60) < 15
    for shift in (0.0, 1.0, 2.5):
        true = statistics.NormalDist().cdf(shift / 2**0.5)  # of two normal distributions so far apart
        draws = torch.randn(400, 60, generator=generator) + shift * positive
        found = [measure.auc_interval(draw, positive) for draw in draws]
        assert 0.92 <= sum(i.low <= true <= i.high for i in found) / 400 <= 0.995, shift


def test_the_interval_of_an_auc_is_symmetric_stays_in_range_and_does_not_collapse():
    positive, values = torch.arange(8) < 4, torch.arange(8.0)
    perfect, opposite = measure.auc_interval(-values, positive), measure.auc_interval(values, positive)
    assert (perfect.mean, perfect.high, perfect.n) == (1, 1, 8) and 0.4 < perfect.low < 0.9
    assert opposite.low == 0 and opposite.high == pytest.approx(1 - perfect.low)


@pytest.mark.parametrize(
    ("values", "positive", "message"),
    [
        ([[1.0], [2.0]], [True, True], "some images, not of 2 of 2"),
        ([[1.0], [2.0]], [False, False], "not of 0 of 2"),
        ([[1.0], [2.0]], [True, False, True], "3 of positive for"),
        ([[1.0], [float("nan")]], [True, False], "values 1 of 2 are not finite"),
    ],
)
def test_an_auc_that_cannot_be_is_refused(values, positive, message):
    with pytest.raises(ValueError, match=message):
        measure.auc(values, positive)


def test_explained_by_hand():
    """Kinds of two pictures, n = 4, k = 2: within 1/2 + 1/2 = 1, total 17; 1 - (1 / 2) / (17 / 3) = 31/34."""
    values = torch.tensor([[0.0], [1], [4], [5]])
    assert torch.allclose(measure.explained(values, torch.tensor([7, 7, 9, 9])), torch.tensor([31 / 34]).double())


def test_explained_follows_from_the_f_test_of_scipy(generator):
    factor = torch.randint(0, 4, (60,), generator=generator)
    values = torch.randn(60, 5, generator=generator) + factor[:, None] * torch.tensor([0.0, 0.2, 0.5, 1, 5])
    n, k = 60, 4
    f = stats.f_oneway(*[values[factor == i].double().numpy() for i in range(k)]).statistic
    within = 1 / (1 + f * (k - 1) / (n - k))  # its share of the total
    assert np.allclose(measure.explained(values, factor).numpy(), 1 - within * (n - 1) / (n - k))


def test_what_knows_nothing_has_nothing_explained_on_average(generator):
    factor = torch.randint(0, 10, (60,), generator=generator)
    shares = measure.explained(torch.randn(60, 4000, generator=generator), factor)
    assert abs(float(shares.mean())) < 0.005  # the plain share would be 9 / 59
    assert shares.min() < 0


def test_what_knows_all_has_all_explained_and_a_constant_nothing():
    factor = torch.tensor([3, 3, 5, 5, 5, 8])
    values = torch.stack([factor.float(), -2.0 * (factor == 5), torch.full((6,), 7.0)], 1)
    assert measure.explained(values, factor).tolist() == [1, 1, 0]


def test_explained_does_not_depend_on_scale_offset_or_the_names_of_kinds(generator):
    factor = torch.randint(0, 3, (50,), generator=generator)
    values = torch.randn(50, 4, generator=generator) + factor[:, None]
    expected = measure.explained(values, factor)
    assert torch.allclose(measure.explained(values * 1e-3 + 5, factor), expected, atol=1e-3)
    assert torch.allclose(measure.explained(values, torch.tensor([40, -2, 7])[factor]), expected)
    assert torch.allclose(measure.explained(-values, factor), expected)


def test_factors_that_explain_nothing_are_refused():
    values = torch.rand(6, 2)
    for factor in (torch.zeros(6).long(), torch.arange(6)):
        with pytest.raises(ValueError, match="at least 2 classes and fewer than images"):
            measure.explained(values, factor)
    with pytest.raises(ValueError, match="5 factors for"):
        measure.explained(values, torch.arange(5))


# ---------------------------------------------------------------- what is in a filter


def test_colour_energy_by_hand(generator):
    shape = torch.randn(1, 1, 5, 5, generator=generator)
    mixes = torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, -1, 0], [2, -1, -1], [1, 1, 0]])
    filters = mixes[:, :, None, None] * shape
    assert torch.allclose(measure.colour_energy(filters), torch.tensor([0, 2 / 3, 1, 1, 1 / 3]), atol=1e-6)
    assert torch.allclose(measure.colour_energy(-7 * filters), measure.colour_energy(filters), atol=1e-6)


def test_colour_energy_is_the_share_of_the_two_colour_directions(generator):
    """An orthonormal basis of RGB whose first direction is grey."""
    basis, _ = np.linalg.qr(np.array([[1.0, 1, 0], [1, -1, 1], [1, 0, -1]]))
    filters = torch.randn(20, 3, 7, 7, generator=generator).double()
    power = torch.einsum("ck,nchw->nkhw", torch.from_numpy(basis), filters).square().sum((2, 3))
    assert torch.allclose(measure.colour_energy(filters), power[:, 1:].sum(1) / power.sum(1))


def test_random_filters_are_two_thirds_colour(generator):
    shares = measure.colour_energy(torch.randn(2000, 3, 7, 7, generator=generator))
    assert abs(float(shares.mean()) - 2 / 3) < 0.005
    assert shares.min() > 0 and shares.max() < 1


def grating(angle, side=15, frequency=0.2):
    """A windowed wave across `angle` degrees."""
    y, x = torch.meshgrid(*[torch.arange(side) - side // 2] * 2, indexing="ij")
    along = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle))
    window = torch.exp(-(x**2 + y**2) / 2 / (side / 5) ** 2)
    return (torch.sin(2 * torch.pi * frequency * along) * window)[None, None].float()


def blob(side=15):
    y, x = torch.meshgrid(*[torch.arange(side) - side // 2] * 2, indexing="ij")
    return torch.exp(-(x**2 + y**2) / 4)[None, None]


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 130])
def test_a_grating_is_oriented_at_every_angle(angle):
    assert measure.orientation_energy(grating(angle)) > 0.85


def test_an_edge_is_oriented_and_a_blob_is_not(generator):
    edge = torch.ones(1, 3, 7, 7)
    edge[..., :3] = -1
    edge[..., 3] = 0
    assert measure.orientation_energy(edge) > 0.5  # its two ends have directions too
    assert measure.orientation_energy(blob()) < 0.01
    noise = measure.orientation_energy(torch.randn(500, 3, 11, 11, generator=generator))
    assert noise.mean() < 0.25 and noise.min() >= 0 and noise.max() <= 1


def test_two_crossed_gratings_have_no_orientation():
    assert measure.orientation_energy(grating(20) + grating(110)) < 0.05
    assert measure.orientation_energy(grating(20) + 0.3 * grating(110)) > 0.5


def test_orientation_does_not_depend_on_sign_scale_or_a_quarter_turn(generator):
    filters = torch.randn(10, 3, 9, 9, generator=generator)
    expected = measure.orientation_energy(filters)
    for same in (-filters, 100 * filters, filters.rot90(1, (2, 3)), filters.flip(3), filters.transpose(2, 3)):
        assert torch.allclose(measure.orientation_energy(same), expected, atol=1e-4)


def test_orientation_energy_equals_its_formula_in_numpy():
    """[1, -1] side by side: the power is 2 - 2 cos(2 pi fx), summed over a disc of frequencies."""
    f = np.fft.fftfreq(64)
    fy, fx = np.meshgrid(f, f, indexing="ij")
    disc = (np.hypot(fx, fy) > 0) & (np.hypot(fx, fy) < 0.5)
    power = (2 - 2 * np.cos(2 * np.pi * fx)) * disc
    cosine = (power * (fx**2 - fy**2) / np.maximum(fx**2 + fy**2, 1e-12)).sum() / power.sum()
    got = measure.orientation_energy(torch.tensor([1.0, -1]).view(1, 1, 1, 2))
    assert float(got) == pytest.approx(cosine, abs=1e-4)


def test_empty_filters_give_numbers_and_other_shapes_are_refused():
    assert measure.orientation_energy(torch.zeros(1, 3, 5, 5)).tolist() == [0]
    assert torch.isfinite(measure.colour_energy(torch.zeros(1, 3, 5, 5))).all()
    with pytest.raises(ValueError, match=r"filters have shape \(n, 3, h, w\), got \(2, 4, 5, 5\)"):
        measure.colour_energy(torch.zeros(2, 4, 5, 5))
    with pytest.raises(ValueError, match=r"filters have shape \(n, c, h, w\), got \(5, 5\)"):
        measure.orientation_energy(torch.zeros(5, 5))


# ---------------------------------------------------------------- when pixels go


def brightness(x):
    """A classifier that needs no network: class 1 is likelier the more light there is on the left half."""
    light = x[..., : x.shape[3] // 2].mean((1, 2, 3))
    return torch.stack([torch.zeros_like(light), 8 * light], 1)


def test_deletion_and_insertion_by_hand():
    x = torch.ones(1, 3, 2, 2)
    heat = torch.tensor([[[[4.0, 1.0], [3.0, 2.0]]]])  # the left column first
    light = torch.tensor([[1.0, 0.5, 0.0, 0.0, 0.0]])
    assert torch.allclose(measure.deletion(brightness, x, 1, heat, steps=4, hidden=0.0), torch.sigmoid(8 * light))
    light = torch.tensor([[0.0, 0.5, 1.0, 1.0, 1.0]])
    assert torch.allclose(measure.insertion(brightness, x, 1, heat, steps=4, hidden=0.0), torch.sigmoid(8 * light))


def test_curves_run_from_the_picture_to_nothing_and_back(coursenet, scenes, generator):
    heat = torch.rand(8, 1, 96, 96, generator=generator)
    x, labels = scenes.images, scenes.labels
    whole = coursenet(x).softmax(1).gather(1, labels[:, None])[:, 0]
    grey = coursenet(torch.full_like(x, 0.5)).softmax(1).gather(1, labels[:, None])[:, 0]
    falling, rising = (f(coursenet, x, labels, heat, steps=3) for f in (measure.deletion, measure.insertion))
    assert falling.shape == rising.shape == (8, 4)
    assert torch.allclose(falling[:, 0], whole, atol=1e-5) and torch.allclose(falling[:, -1], grey, atol=1e-5)
    assert torch.allclose(rising[:, -1], whole, atol=1e-5)


def test_a_true_map_falls_and_rises_sooner_than_a_false_one():
    x = torch.ones(1, 3, 10, 10)
    true = torch.zeros(1, 1, 10, 10)
    true[..., :5] = 1
    fall, rise = (
        [measure.area(curve(brightness, x, 1, heat, steps=10, hidden=0.0)) for heat in (true, 1 - true)]
        for curve in (measure.deletion, measure.insertion)
    )
    assert fall[0] < fall[1] - 0.1 and rise[0] > rise[1] + 0.1


def test_area_equals_numpy(generator):
    curve = torch.rand(5, 17, generator=generator)
    assert np.allclose(measure.area(curve), np.trapezoid(curve.numpy(), dx=1 / 16, axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heat": torch.zeros(1, 1, 5, 5)}, "do not fit"),
        ({"steps": 0}, "steps go from 1"),
        ({"label": 2}, "from 0 to 1"),
    ],
)
def test_bad_curves_are_refused(change, message):
    arguments = {"x": torch.ones(1, 3, 10, 10), "label": 1, "heat": torch.zeros(1, 1, 10, 10)} | change
    with pytest.raises(ValueError, match=message):
        measure.deletion(brightness, **arguments)


# ---------------------------------------------------------------- curves of any network, with any labels


@dataclass
class Output:
    loss: float
    logits: torch.Tensor


WRAPPED = {
    "tensor": lambda a: a,
    "tuple": lambda a: (a, None),
    "dict": lambda a: {"aux": 0 * a, "logits": a},
    "dataclass": lambda a: Output(0.0, a),
}


class Small(nn.Module):
    """With batch normalisation and dropout, in training mode; what it outputs can be wrapped."""

    classes = ("disc", "square", "star")

    def __init__(self, wrap="tensor"):
        super().__init__()
        torch.manual_seed(0)
        self.wrap = WRAPPED[wrap]
        self.conv, self.norm, self.drop, self.fc = (
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.Dropout(0.5),
            nn.Linear(8, 3),
        )

    def forward(self, x):
        return self.wrap(self.fc(self.drop(self.norm(self.conv(x)).relu().mean((2, 3)))))


CURVES = [measure.deletion, measure.insertion]
some = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))
heat = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(2))
chosen = torch.tensor([2, 0, 1, 2])


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("wrap", WRAPPED)
def test_a_network_in_training_is_evaluated_and_left_as_it_was(curve, wrap):
    net = Small(wrap).train()
    net.drop.eval()
    net.conv.weight.grad = torch.ones_like(net.conv.weight)
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    got = curve(net, some, chosen, heat, steps=4)
    assert torch.equal(got, curve(Small().eval(), some, chosen, heat, steps=4))
    with pytest.raises(ValueError, match="class of the output with number 3: they go from 0 to 2"):
        curve(net, some, 3, heat, steps=4)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(a, before[name]) for name, a in net.state_dict().items())
    assert torch.equal(net.conv.weight.grad, torch.ones_like(net.conv.weight)) and net.fc.weight.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


LABELS: dict[str, Label] = {
    "list": [2, 0, 1, 2],
    "tuple": (2, 0, 1, 2),
    "array": np.array([2, 0, 1, 2]),
    "int32": chosen.int(),
    "bytes": chosen.byte(),
    "names": ["star", "disc", "square", "star"],
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_labels_come_in_every_form(curve, label):
    net = Small()
    assert torch.equal(curve(net, some, label, heat, steps=2), curve(net, some, chosen, heat, steps=2))
    assert torch.equal(curve(net, some, "star", heat, steps=2), curve(net, some, 2, heat, steps=2))


@pytest.mark.parametrize("curve", CURVES)
def test_labels_that_mean_nothing_are_refused(curve):
    for label, error, message in (
        ("stars", ValueError, r"no class of .* 'stars' \(did you mean 'star'"),
        ([1, 2], ValueError, "one label for all, or one for each of 4 images; got 2"),
        (torch.tensor([1.0, torch.nan, 0, 0]), TypeError, "label is a whole number"),
        (-1, ValueError, "number -1"),
    ):
        with pytest.raises(error, match=message):
            curve(Small(), some, label, heat, steps=2)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_curves_under_every_mode_of_gradients(curve, mode):
    expected = curve(Small(), some, chosen, heat, steps=2)
    net = Small()
    with mode():
        assert torch.equal(curve(net, some.clone(), chosen, heat, steps=2), expected)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.double, 1e-5), (torch.half, 0.01), (torch.bfloat16, 0.03)])
def test_curves_in_every_precision(curve, dtype, atol):
    got = curve(Small().to(dtype), some.to(dtype), chosen, heat.to(dtype).float(), steps=3)
    assert torch.allclose(got.float(), curve(Small(), some, chosen, heat.to(dtype).float(), steps=3), atol=atol)
    with pytest.raises(TypeError, match="give x.to"):
        curve(Small().to(dtype), some, chosen, heat, steps=3)


@pytest.mark.parametrize("around", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_curves_of_wrapped_networks(around):
    expected = measure.deletion(Small(), some, "star", heat, steps=2)
    assert torch.equal(measure.deletion(around(Small()), some, "star", heat, steps=2), expected)


def test_six_threads_share_a_network():
    net = Small().train()
    expected = measure.deletion(Small(), some, chosen, heat, steps=4)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: measure.deletion(net, some, chosen, heat, steps=4), range(24)))
    assert all(torch.equal(one, expected) for one in found) and net.training


def test_what_hides_pixels_must_fit():
    for hidden, message in (
        (torch.nan, "hidden values 0 of 1 are not finite"),
        (torch.zeros(5, 5), "does not broadcast"),
    ):
        with pytest.raises(ValueError, match=message):
            measure.deletion(brightness, some, 1, heat, steps=2, hidden=hidden)


def seen_by(curve, x, heat, **options):
    """The images that the network sees on the way."""
    seen = []

    def net(x):
        seen.append(x)
        return x.new_zeros(len(x), 2)

    curve(net, x, 1, heat, **options)
    return seen


@pytest.mark.parametrize("size", [(40, 30), (12, 12)])
def test_insertion_begins_with_the_image_blurred_by_a_tenth_of_its_side(size):
    """SciPy's Gaussian, cut at twice its deviation, mirrored at the border."""
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(3))
    side = min(size)
    blurred = ndimage.gaussian_filter(x.numpy(), side / 10, axes=(2, 3), mode="mirror", radius=side // 5)
    seen = seen_by(measure.insertion, x, torch.rand(1, 1, *size))
    assert len(seen) == 17
    assert np.allclose(seen[0].numpy(), blurred, atol=1e-5)
    assert torch.equal(seen[-1], x)


def test_deletion_ends_in_grey_by_equal_portions_and_equal_pixels_go_row_by_row():
    x = torch.zeros(1, 3, 5, 4)
    seen = seen_by(measure.deletion, x, torch.zeros(1, 1, 5, 4))
    assert (seen[-1] == 0.5).all() and len(seen) == 17
    gone = [int((each[0, 0] == 0.5).sum()) for each in seen]
    assert gone == [k * 20 // 16 for k in range(17)]
    assert (seen[4][0, 0, 0] == 0.5).all() and (seen[4][0, 0, 2:] == 0).all()


def test_the_probability_is_the_softmax_of_all_classes():
    logits = torch.tensor([[1.0, 2.0, 0.5]])
    curve = measure.deletion(lambda x: logits.expand(len(x), -1), some, 1, heat, steps=1)
    assert curve[0, 0].item() == pytest.approx(math.exp(2) / (math.exp(1) + math.exp(2) + math.exp(0.5)))


def test_area_equals_scikit_learn_and_takes_lists():
    curve = [1.0, 0.7, 0.7, 0.1]
    expected = auc(np.linspace(0, 1, 4), curve)
    assert float(measure.area(curve)) == pytest.approx(expected)
    assert measure.area([curve, curve[::-1]]).tolist() == pytest.approx([expected, expected])
    for bad, message in (([[1.0]], "at least 2 values"), ([1.0, np.nan], "curves 1 of 2 are not finite")):
        with pytest.raises(ValueError, match=message):
            measure.area(bad)


# ---------------------------------------------------------------- how sure


def test_an_interval_of_few_values_is_students():
    values = torch.tensor([0.1, 0.5, 0.2, 0.4, 0.35])
    theirs = stats.ttest_1samp(values.numpy(), 0).confidence_interval()
    for ours in (measure.interval(values), measure.interval(values.tolist()), measure.interval(values.numpy())):
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-5)
        assert ours.mean == pytest.approx(0.31) and ours.n == 5


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 4), (81, 263)])
def test_an_interval_of_right_and_wrong_is_wilsons(right, n):
    """(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), Wilson 1927."""
    p, z = right / n, stats.norm.ppf(0.975)
    middle, half = p + z**2 / 2 / n, z * math.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
    values = [True] * right + [False] * (n - right)
    for ours in (measure.interval(values), measure.interval(torch.tensor(values)), measure.interval(np.array(values))):
        assert (ours.low, ours.high) == pytest.approx(
            ((middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n))
        )
        assert ours.mean == pytest.approx(p)
    assert measure.interval([1.0, 0.0, 0.0, 0.0]).low < 0  # numbers: Student's


def test_what_is_no_list_of_values_has_no_interval():
    for values, error, message in (
        (torch.tensor([1.0]), ValueError, "at least 2 values, got 1"),
        ([], ValueError, r"values have shape \(n,\), got \(0,\)"),
        (torch.rand(3, 2), ValueError, r"values have shape \(n,\), got \(3, 2\)"),
        ([0.1, np.nan, 0.3, np.inf], ValueError, "values 1, 3 of 4 are not finite"),
        (["a", "b"], TypeError, "values are numbers"),
        (None, TypeError, "values are numbers"),
    ):
        with pytest.raises(error, match=message):
            measure.interval(values)


def test_pairs_are_compared_as_scipy_compares_them(generator):
    a = torch.rand(12, generator=generator)
    b = a + 0.1 * torch.randn(12, generator=generator) - 0.05
    theirs = stats.ttest_rel(a.double(), b.double()).confidence_interval()
    for one, other in ((a, b), (a.tolist(), b.numpy())):
        (mean, low, high, n), p = measure.paired(one, other)
        assert (mean, low, high) == pytest.approx((float((a - b).mean()), theirs.low, theirs.high), rel=1e-4)
        assert n == 12 and p == pytest.approx(stats.wilcoxon(a.double(), b.double()).pvalue)


def test_pairs_of_bytes_and_of_bools_do_not_wrap():
    a, b = torch.tensor([1, 2, 3, 7, 5]).byte(), torch.tensor([4, 3, 5, 8, 9]).byte()
    assert measure.paired(a, b).difference.mean == pytest.approx(-2.2)
    assert measure.paired(a > 2, b > 3).difference.mean == pytest.approx(-1 / 5)


def test_pairs_that_are_none_are_refused_and_equal_ones_do_not_differ():
    assert measure.paired([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]) == (measure.Interval(0, 0, 0, 3), 1.0)
    with pytest.raises(ValueError, match="got 3 and 2"):
        measure.paired([0.1, 0.2, 0.3], [0.1, 0.2])
    with pytest.raises(ValueError, match="values 1 of 2 are not finite"):
        measure.paired([0.1, np.nan], [0.1, 0.2])


def test_explained_takes_lists_and_arrays_and_names_what_is_not_finite():
    values, factor = [[0.0], [1.0], [4.0], [5.0]], [7, 7, 9, 9]
    for of in (factor, np.array(factor), torch.tensor(factor).float()):
        assert measure.explained(np.array(values), of).tolist() == pytest.approx([31 / 34])
    with pytest.raises(ValueError, match="values 2 of 4 are not finite"):
        measure.explained([[0.0], [1.0], [np.nan], [5.0]], factor)
    with pytest.raises(ValueError, match="a factor is whole numbers"):
        measure.explained(values, [0.1, 0.1, 0.3, 0.3])


# ---------------------------------------------------------------- how alike


def test_correlation_is_pearsons_of_scipy(generator):
    a, b = torch.rand(2, 4, 3, 8, 8, generator=generator)
    expected = [stats.pearsonr(one.flatten(), other.flatten()).statistic for one, other in zip(a, b, strict=True)]
    for one, other in ((a, b), (a.numpy(), b.tolist()), (3 * a - 7, 0.1 * b + 2)):
        assert measure.correlation(one, other).tolist() == pytest.approx(expected, abs=1e-5)
    assert measure.correlation(a, torch.full_like(a, 0.3)).tolist() == [0] * 4
    assert torch.allclose(measure.correlation((255 * a).byte(), b), torch.tensor(expected).float(), atol=0.01)


def test_psnr_is_that_of_scikit_image(generator):
    a, b = torch.rand(2, 3, 3, 8, 8, generator=generator)
    expected = [peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=1) for x, y in zip(a, b, strict=True)]
    assert measure.psnr(a, b).tolist() == pytest.approx(expected, rel=1e-5)


def test_images_that_cannot_be_compared_are_refused():
    a = torch.rand(1, 3, 16, 16)
    spoilt = a.clone()
    spoilt[0, 0, 0, 0] = torch.nan
    for function in (
        measure.correlation,
        measure.psnr,
        measure.patch_distance,
        measure.spectrum_distance,
        measure.content_lost,
    ):
        with pytest.raises(ValueError, match="images 0 of 1 are not finite"):
            function(spoilt, a)
        if function is not measure.patch_distance:
            with pytest.raises(ValueError, match="differ in shape"):
                function(a, a[..., 1:])
    with pytest.raises(ValueError, match=r"no patches of 17 pixels in \(1, 3, 16, 16\)"):
        measure.patch_distance(a, a, size=17)
    with pytest.raises(ValueError, match="at least 4 pixels a side"):
        measure.spectrum_distance(a[..., :3], a[..., :3])
    with pytest.raises(ValueError, match="image by image"):
        measure.content_lost(a.expand(2, -1, -1, -1), a.expand(2, -1, -1, -1))


def test_the_patch_distance_is_wasserstein_of_the_projections():
    a, b = world.draw(2, seed=9, size=24).images.split(1)
    directions = torch.randn(27, 8, generator=torch.Generator().manual_seed(0))
    directions = (directions / directions.norm(dim=0)).numpy()
    each = []
    for d in directions.T:
        clouds = []
        for x in (a, b):
            windows = np.lib.stride_tricks.sliding_window_view(x[0].numpy(), (3, 3), axis=(1, 2))  # (3, 22, 22, 3, 3)
            clouds.append(windows.transpose(1, 2, 0, 3, 4).reshape(-1, 27) @ d)
        each.append(stats.wasserstein_distance(*clouds))
    assert measure.patch_distance(a, b, size=3, directions=8) == pytest.approx(np.mean(each), rel=0.01)
    assert measure.patch_distance(a, b) == measure.patch_distance(a, b, size=7, directions=256)


def test_quantiles_are_read_in_the_middle_of_512_steps():
    """Four pixels against four, so that it matters where they are read."""
    a, b = torch.rand(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    d = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    d = (d / d.norm(dim=0)).numpy()
    p = (np.arange(512) + 0.5) / 512
    quantiles = [np.quantile(x.flatten(2)[0].T.numpy() @ d, p, axis=0) for x in (a, b)]
    expected = np.abs(quantiles[0] - quantiles[1]).mean()
    assert measure.patch_distance(a, b, size=1, directions=5, seed=1) == pytest.approx(expected, rel=1e-5)


def test_shuffled_pixels_have_the_colours_and_nothing_else():
    x = world.draw(1, seed=9, size=32).images
    shuffled = measure.shuffled_pixels(x)
    assert torch.equal(shuffled.flatten(2)[0].T.unique(dim=0), x.flatten(2)[0].T.unique(dim=0))  # colours stay whole
    assert not torch.equal(shuffled, x) and torch.equal(measure.shuffled_pixels(x), shuffled)
    assert measure.patch_distance(x, shuffled, size=1) == pytest.approx(0, abs=1e-6)
    assert measure.patch_distance(x, shuffled) > 0.005


def test_half_the_contrast_is_a_spectrum_ln_4_away():
    x = world.draw(1, seed=9, size=32).images
    assert measure.spectrum_distance(x, x) == 0
    assert measure.spectrum_distance(x, 0.5 + 0.5 * (x - 0.5)) == pytest.approx(math.log(4), rel=1e-3)


@pytest.mark.parametrize(("height", "width", "count"), [(24, 32, 6), (80, 72, 16)])
def test_the_spectrum_is_that_of_numpy_ring_by_ring(height, width, count, generator):
    """As many rings as a fourth of the shorter side, 16 at most."""
    a, b = torch.rand(2, 1, 3, height, width, generator=generator, dtype=torch.double)

    def rings(x):
        grey = x.mean(1)[0].numpy()
        window = np.outer(*(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side) for side in grey.shape))
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        radius = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
        of = np.floor(radius * 2 * count)
        return np.array([power[(of == i) & (radius > 0)].mean() for i in range(count)])

    expected = np.abs(np.log(rings(a)) - np.log(rings(b))).mean()
    assert measure.spectrum_distance(a.float(), b.float()) == pytest.approx(expected, rel=1e-3)


def test_content_is_compared_grey_and_blurred(generator):
    a, b = torch.rand(2, 1, 3, 64, 64, generator=generator)
    soft = [ndimage.gaussian_filter(x.mean(1)[0].numpy(), 2.0, mode="mirror", radius=6) for x in (a, b)]
    expected = 1 - stats.pearsonr(*(x.ravel() for x in soft)).statistic
    assert measure.content_lost(a, b) == pytest.approx(expected, rel=1e-4)
    assert measure.content_lost(a, a) == pytest.approx(0, abs=1e-6)


# ---------------------------------------------------------------- distances of codes


def test_the_spread_is_the_mean_distance_of_pairs_in_both_conventions(generator):
    codes = torch.randn(9, 5, generator=generator)
    distances = pdist(codes.numpy())
    for of in (codes, codes.numpy(), codes.tolist(), codes.double()):
        assert measure.spread(of) == pytest.approx(distances.mean(), rel=1e-5)
        assert measure.spread(of, squared=True) == pytest.approx(2 * (distances**2).sum() / 81, rel=1e-5)
    for bad, message in (
        (codes[:1], "at least 2 codes, got 1"),
        (codes[0], r"codes have shape \(n, d\), got \(5,\)"),
        (codes / 0, "codes 0, 1, 2, 3, 4, ... of 9 are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            measure.spread(bad)


def test_a_code_of_several_layers_is_one_vector(generator):
    a, b = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(2, 5, generator=generator)
    assert torch.equal(measure.flat({"a": a, "b": b}), torch.cat([a.view(2, 48), b], 1))
    assert torch.equal(measure.flat(a), a.view(2, 48))
    with pytest.raises(ValueError, match="a code of no layer"):
        measure.flat({})


# ---------------------------------------------------------------- textures


def one_fit(a, b, shrinkage):
    """What scikit-learn's discriminant, fitted to the left halves, tells of the right ones; maps (c, h, w)."""
    left, right = (
        [x[..., s].flatten(1).T.numpy() for x in (a, b)] for s in (slice(0, 4), slice(6, 10))
    )  # 10 columns, of which the middle two are left out
    own = [np.repeat([1, 0], len(x)) for x in (left[0], right[0])]
    fitted = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=ShrunkCovariance(shrinkage=shrinkage))
    fitted.fit(np.concatenate(left), own[0])
    return roc_auc_score(own[1], fitted.decision_function(np.concatenate(right)))


def turned(x):
    return x.transpose(1, 2)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_told_apart_is_the_discriminant_of_scikit_learn(shrinkage, generator):
    a, b = torch.randn(2, 5, 10, 10, generator=generator, dtype=torch.double)
    mixed = torch.randn(5, 5, generator=generator, dtype=torch.double)
    a, b = (torch.einsum("dc,chw->dhw", mixed, x) for x in (a, b + 0.3))  # correlated channels
    ways = [(a, b), (a.flip(2), b.flip(2)), (turned(a), turned(b)), (turned(a).flip(2), turned(b).flip(2))]
    expected = sum(one_fit(*way, shrinkage) for way in ways) / 4
    assert float(measure.told_apart(a[None], b[None], shrinkage=shrinkage)) == pytest.approx(expected, abs=1e-9)


def test_what_is_of_one_kind_is_not_told_apart(generator):
    """Two draws of the same noise come out at a half; another mean, or another pattern in the channels, at one."""
    a, b = torch.randn(2, 20, 4, 16, 16, generator=generator)
    found = measure.told_apart(a, b)
    assert found.shape == (20,) and measure.interval(found).low < 0.5 < measure.interval(found).high
    assert measure.told_apart(a, b + 3).min() > 0.99
    assert torch.allclose(measure.told_apart(a, b), measure.told_apart(b, a))
    assert torch.allclose(measure.told_apart(a, b), measure.told_apart(5 * a - 2, 5 * b - 2))  # no unit


def test_what_differs_in_one_half_alone_is_no_difference_of_texture(generator):
    """A tint that one half has does not help in the other: brightness that drifts is no texture."""
    a, b = torch.randn(2, 20, 4, 16, 16, generator=generator)
    b[..., :8] += 3
    columns = measure.told_apart(a, b)  # rows are told apart, columns are not
    assert 0.6 < float(columns.mean()) < 0.85


def test_layers_are_compared_on_the_smallest_grid(generator):
    a, b = (
        {"x": torch.randn(1, 2, 24, 24, generator=g), "y": torch.randn(1, 3, 8, 8, generator=g)}
        for g in [generator] * 2
    )
    whole = [torch.cat([torch.nn.functional.avg_pool2d(c["x"], 3), c["y"]], 1) for c in (a, b)]
    assert torch.allclose(measure.told_apart(a, b), measure.told_apart(*whole))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 8, 8), "differ in images or channels"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(2, 3, 8, 8), "differ in images or channels"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 5), "the second maps have 8 x 5 positions"),
        (torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8), r"the first maps have shape \(n, c, h, w\)"),
        ({}, torch.zeros(1, 3, 8, 8), "a code of no layer"),
        (torch.full((1, 3, 8, 8), torch.nan), torch.zeros(1, 3, 8, 8), "not finite"),
    ],
)
def test_textures_that_cannot_be_compared_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        measure.told_apart(a, b)


def test_flat_images_are_not_told_apart_and_shrinkage_is_a_share():
    assert float(measure.told_apart(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))) == 0.5
    assert float(measure.told_apart(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8))) == 1
    with pytest.raises(ValueError, match="shrinkage is in"):
        measure.told_apart(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), shrinkage=1.5)
