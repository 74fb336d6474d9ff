import numpy as np
import pytest
import torch
from scipy.stats import f_oneway, ttest_1samp
from sklearn.metrics import jaccard_score

from course_lib import measure


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
    with pytest.raises(ValueError, match="at least 2"):
        measure.interval(torch.tensor([1.0]))


# ---------------------------------------------------------------- what explains a unit


def test_explained_by_hand():
    """Kinds of two pictures, n = 4, k = 2: within 1/2 + 1/2 = 1, total 17; 1 - (1 / 2) / (17 / 3) = 31/34."""
    values = torch.tensor([[0.0], [1], [4], [5]])
    assert torch.allclose(measure.explained(values, torch.tensor([7, 7, 9, 9])), torch.tensor([31 / 34]).double())


def test_explained_follows_from_the_f_test_of_scipy(generator):
    factor = torch.randint(0, 4, (60,), generator=generator)
    values = torch.randn(60, 5, generator=generator) + factor[:, None] * torch.tensor([0.0, 0.2, 0.5, 1, 5])
    n, k = 60, 4
    f = f_oneway(*[values[factor == i].double().numpy() for i in range(k)]).statistic
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


def test_an_interval_of_few_values_is_students():
    values = torch.tensor([0.1, 0.5, 0.2, 0.4, 0.35])
    ours = measure.interval(values)
    theirs = ttest_1samp(values.numpy(), 0).confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-5)
