import csv
import math
from collections import OrderedDict
from functools import partial
from statistics import NormalDist

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from course_lib import data, measure, models, world
from course_lib.energy import squared_norm
from course_lib.measure import auc, shuffled_pixels, spectrum_distance
from course_lib.preimage import Preimage
from course_lib.recipes import greedy
from course_lib.reproduce import grids, random_styles, random_textures, random_weights
from course_lib.reproduce.__main__ import main
from course_lib.reproduce.random_weights import FREE, NATURAL, SLOW, Question, Run
from course_lib.taps import Taps
from project import needs

needs_stamps = pytest.mark.skipif(not needs.CUTOUTS.present(), reason=needs.CUTOUTS.lacking)


@pytest.fixture
def images():
    return world.draw(3, seed=3, size=16).images


def tiny(seed=0):
    """Two rectified convolutions and one that is not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = OrderedDict(conv1=nn.Conv2d(3, 4, 3, padding=1), relu1=nn.ReLU())
        parts |= OrderedDict(conv2=nn.Conv2d(4, 8, 3, padding=1), relu2=nn.ReLU(), conv3=nn.Conv2d(8, 2, 1))
        parts |= OrderedDict(flatten=nn.Flatten())
        network = nn.Sequential(parts)
    return models.Network(network, name="tiny", classes=("a", "b"), image_size=16, mean=[0.5] * 3, std=[0.25] * 3)


def lossless():
    """A convolution and a ReLU that keep everything: each colour above and below grey, apart."""
    layer = nn.Conv2d(3, 6, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.cat([torch.eye(3), -torch.eye(3)])[..., None, None])
        layer.bias.copy_(torch.tensor([-0.5] * 3 + [0.5] * 3))
    return nn.Sequential(OrderedDict(conv=layer, relu=nn.ReLU())).requires_grad_(False)


# --- from white noise -----------------------------------------------------------------------------------------


def test_a_code_that_holds_everything_gives_the_image_back(images):
    x = images.clamp(0.02, 0.98)  # white and black lie at infinity
    found = greedy.from_white_noise(lossless(), "relu", x)
    assert (found - x).abs().mean() < 0.01


def test_an_image_descends_alone_and_its_seed_is_its_own(images):
    net = tiny()
    both = greedy.from_white_noise(net, "relu2", images[:2], evaluations=5, seed=7)
    second = greedy.from_white_noise(net, "relu2", images[1:2], evaluations=5, seed=8)
    assert torch.equal(both[1:], second)
    assert not torch.equal(second, greedy.from_white_noise(net, "relu2", images[1:2], evaluations=5, seed=9))


def test_a_regularizer_over_another_layer_is_added(images):
    found = [
        greedy.from_white_noise(tiny(), "relu2", images[:1], evaluations=10, regularizer=regularizer)
        for regularizer in (None, 0 * squared_norm("conv1"), squared_norm("conv1"))
    ]
    assert torch.equal(found[0], found[1]) and not torch.allclose(found[0], found[2], atol=1e-3)


# --- greedy weights -------------------------------------------------------------------------------------------


def test_the_first_convolution_is_the_best_of_its_draws_by_a_plain_loop(images):
    net, reference = tiny(), images[:1]
    chosen = greedy.greedy_weights(net, reference, draws=3, until="relu1", evaluations=20, seed=5)

    generator, errors, drawn = torch.Generator().manual_seed(5), [], []
    hand = tiny()
    hand.conv1.bias.zero_()
    for _ in range(3):
        drawn.append(torch.randn(4, 3, 3, 3, generator=generator) * math.sqrt(2 / 27))
        hand.conv1.weight.copy_(drawn[-1])
        found = greedy.from_white_noise(hand, "relu1", reference, evaluations=20, seed=5)
        errors.append(float((found - reference).norm()))
    assert len(set(errors)) == 3
    assert torch.equal(chosen.conv1.weight, drawn[errors.index(min(errors))])


def test_layers_behind_are_chosen_on_the_ones_before_and_what_is_further_stays(images):
    net = tiny()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = greedy.greedy_weights(net, images[:1], draws=2, until="relu1", evaluations=5)
    chosen = greedy.greedy_weights(net, images[:1], draws=2, until="relu2", evaluations=5)
    assert torch.equal(chosen.conv1.weight, first.conv1.weight)
    assert not torch.equal(chosen.conv2.weight, net.conv2.weight)
    assert torch.equal(chosen.conv3.weight, net.conv3.weight)
    assert not chosen.conv2.bias.any() and torch.equal(chosen.conv3.bias, net.conv3.bias)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert chosen.name == "tiny, greedy" and chosen(images).shape == net(images).shape


def test_a_convolution_without_a_relu_is_drawn_once(images, monkeypatch):
    runs = []
    monkeypatch.setattr(greedy, "from_white_noise", lambda net, layer, x, **_: runs.append(layer) or x)
    chosen = greedy.greedy_weights(tiny(), images[:1], draws=3)
    assert runs == ["relu1"] * 3 + ["relu2"] * 3
    assert not torch.equal(chosen.conv3.weight, tiny().conv3.weight)


def test_more_draws_are_never_worse_on_the_reference(images):
    def error(draws, seed):
        options = {"until": "relu1", "evaluations": 20, "seed": seed}
        net = greedy.greedy_weights(tiny(), images[:1], draws=draws, **options)
        found = greedy.from_white_noise(net, "relu1", images[:1], evaluations=20, seed=seed)
        return float((found - images[:1]).norm())

    one, three = ([error(draws, seed) for seed in range(4)] for draws in (1, 3))
    assert all(b <= a for a, b in zip(one, three, strict=True)) and sum(three) < sum(one)


def test_greedy_names_what_is_wrong(images):
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        greedy.greedy_weights(tiny(), images[:1], draws=0)
    with pytest.raises(ValueError, match="evaluations must be at least 1, got 0"):
        greedy.from_white_noise(tiny(), "relu1", images, evaluations=0)
    with pytest.raises(ValueError, match="one reference is"):
        greedy.greedy_weights(tiny(), images)
    with pytest.raises(TypeError, match=r"wrap it in models\.Network"):
        greedy.greedy_weights(lossless(), images[:1])
    with pytest.raises(ValueError, match="no layer 'relu9'"):
        greedy.greedy_weights(tiny(), images[:1], until="relu9")


# --- the arms -------------------------------------------------------------------------------------------------


def activations(net, images):
    layers = [f"conv{i}" for i in range(1, 6)]
    return Taps(net, *layers)(images)


def test_as_active_is_active_as_often_as_trained_in_every_channel():
    x = world.draw(4, seed=1, size=48).images
    wanted, found = (
        activations(random_weights.ARMS[arm]("coursenet", 0, x, "relu5"), x) for arm in ("trained", "as active")
    )
    for layer in wanted:
        shares = [(a[layer] > 0).float().mean((0, 2, 3)) for a in (wanted, found)]
        assert torch.allclose(*shares, atol=0.002), layer  # one position in 500


def test_as_uneven_has_the_trained_singular_values_on_random_directions():
    x = world.draw(1, seed=1, size=32).images
    nets = [random_weights.ARMS[arm]("coursenet", 0, x, "relu5") for arm in ("trained", "as uneven", "untrained")]
    trained, uneven, plain = (net.conv2.weight.flatten(1).double().numpy() for net in nets)
    values = [np.linalg.svd(w, compute_uv=False) for w in (trained, uneven)]
    assert np.allclose(*values, rtol=1e-4)
    product = uneven @ plain.T  # U S' S U^T: symmetric, so the directions are those of the plain draw
    assert np.allclose(product, product.T, atol=1e-4 * np.abs(product).max())


def test_shuffled_weights_are_the_trained_ones_in_another_order():
    x = world.draw(1, seed=1, size=32).images
    trained, shuffled = (random_weights.ARMS[arm]("coursenet", 0, x, "relu5") for arm in ("trained", "shuffled"))
    for part in ("weight", "bias"):
        a, b = (getattr(net.conv3, part).flatten() for net in (trained, shuffled))
        assert torch.equal(a.sort().values, b.sort().values) and not torch.equal(a, b)


def test_without_biases_the_scale_of_the_weights_changes_nothing():
    x = world.draw(2, seed=1, size=48).images
    kaiming, unit = (random_weights.ARMS[arm]("coursenet", 3, x, "relu5") for arm in ("kaiming", "untrained"))
    a, b = (Taps(net, "relu5")(x)["relu5"] for net in (kaiming, unit))
    assert torch.allclose(a / a.norm(), b / b.norm(), atol=1e-6)


# --- the measures ---------------------------------------------------------------------------------------------


def test_correlation_is_pearsons(images):
    other = images.flip(3)
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(images, other, strict=True)]
    assert measure.correlation(images, other).tolist() == pytest.approx(expected, abs=1e-5)


def test_paired_by_hand():
    """Differences 1, 2, 3: mean 2, deviation 1, Student's t for 2 degrees of freedom 4.3027; 2 of 8 signs."""
    (mean, low, high, n), p = measure.paired(torch.tensor([2.0, 4.0, 6.0]), torch.tensor([1.0, 2.0, 3.0]))
    half = 4.30265 / math.sqrt(3)
    assert (mean, low, high, n) == pytest.approx((2, 2 - half, 2 + half, 3), abs=1e-4)
    assert p == pytest.approx(2 / 8)


def test_a_row_is_a_mean_over_images_of_means_over_seeds():
    x = torch.zeros(2, 3, 4, 4)
    x[1] = 1.0  # the distance between the two is sqrt(48)
    question = Question("coursenet", {"trained": 1, "untrained": 2}, ("relu1",), (FREE,))
    errors = {("trained", 0): (4.0, 8.0), ("untrained", 0): (1.0, 2.0), ("untrained", 1): (3.0, 4.0)}
    done = [
        Run("coursenet", arm, "relu1", FREE, seed, i, e, 0.5, 0.1, 1.0)
        for (arm, seed), each in errors.items()
        for i, e in enumerate(each)
    ]
    trained, untrained = random_weights.summary(question, done, x)
    unit = math.sqrt(48)
    assert trained["error"] == pytest.approx(6 / unit) and trained["difference"] == ""
    assert untrained["error"] == pytest.approx(2.5 / unit) and untrained["n"] == 2
    assert untrained["difference"] == pytest.approx(-3.5 / unit)


def test_the_interval_of_a_difference_covers_draws_and_things():
    """Nothing varies: a point. Only draws vary: wider than the interval over things alone, which is a point."""
    a = torch.full((6, 3), 0.9, dtype=torch.float64)
    assert random_textures.resampled(a, a - 0.2) == pytest.approx((0.2, 0.2, 0.2))
    draws = torch.tensor([[0.8, 0.9, 1.0]], dtype=torch.float64).expand(6, 3)
    mean, low, high = random_textures.resampled(draws, a)
    assert mean == pytest.approx(0) and low < -0.02 and high > 0.02


def test_the_bootstrap_covers_as_often_as_it_says():
    """Normal things and draws of known variance: the interval holds 0 in about 95 of 100 trials."""
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(200):
        things = torch.randn(40, 1, generator=generator, dtype=torch.float64)
        a, b = (things + torch.randn(40, 4, generator=generator, dtype=torch.float64) for _ in range(2))
        _, low, high = random_textures.resampled(a, b, samples=400)
        held += low <= 0 <= high
    assert held >= 184  # the binomial's 1 % quantile; two levels of resampling make it wider, not narrower


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.04, 0.03, "equivalent"),
        (0.01, 0.04, "equivalent"),
        (0.01, 0.2, "worse"),
        (-0.2, -0.01, "better"),
        (-0.2, 0.1, "cannot tell"),
    ],
)
def test_not_significant_is_not_equivalent(low, high, said):
    assert random_textures.verdict(low, high) == said


def painted(arm, pair, content, apart, seed=0, weight=1.0):
    return random_styles.Run(arm, pair, seed, weight, apart, content, 1.0)


def area(d):
    return NormalDist().cdf(d / 2**0.5)


def test_styles_are_compared_at_equal_content(monkeypatch):
    """Two straight curves, d' = 3 - content and 2 - content, share contents from 0.4 to 0.8; one pair shares none."""
    arms = {f"{kind} net": random_styles.Arm(None, 1, "", ()) for kind in ("trained", "untrained")}
    monkeypatch.setattr(random_styles, "ARMS", arms)
    monkeypatch.setattr(random_styles, "NETWORKS", ("net",))
    ends = {"trained net": (0.2, 0.8), "untrained net": (0.4, 1.0)}
    done = [
        painted(arm, pair, content, area((3 if arm == "trained net" else 2) - content + shift), weight=content)
        for arm, contents in ends.items()
        for pair, shift in (("a", 0.0), ("b", 0.1 if arm == "trained net" else 0.0), ("c", 0.0))
        for content in contents
    ]
    done += [painted("trained net", "far", c, 0.9, weight=c) for c in (0.1, 0.2)]
    done += [painted("untrained net", "far", c, 0.9, weight=c) for c in (0.5, 0.6)]
    (row,) = random_styles.table(done)
    assert row["n"] == 3
    assert row["difference"] == pytest.approx(-1 - 0.1 / 3, abs=1e-4)
    assert row["verdict"] == "better"


def test_sensitivity_is_the_distance_of_two_normal_classes():
    for d in (0.0, 0.7, 2.5):
        a, b = (torch.randn(4000, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in (0, 1))
        found = float(auc(torch.cat([a + d, b])[:, None], torch.arange(8000) < 4000)[0])
        assert random_styles.sensitivity(found) == pytest.approx(d, abs=0.06)
    assert random_styles.sensitivity(1.0) == random_styles.sensitivity(0.99995) < 6


# --- the commands ---------------------------------------------------------------------------------------------


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def quick(monkeypatch):
    """Inversions that end at once, with a faint copy of the image, and are counted."""
    calls = []

    def way(net, layer, x, seed):
        calls.append((net.name, layer, len(x), seed))
        return 0.5 + (0.9 - 0.001 * seed / 1000) * (x - 0.5)

    monkeypatch.setattr(random_weights, "WAYS", dict.fromkeys((FREE, SLOW, NATURAL), way))
    question = Question("coursenet", {"untrained": 2, "trained": 1}, ("relu1", "relu2"), (FREE, NATURAL))
    monkeypatch.setattr(random_weights, "QUESTIONS", {"training": (question,), "starts": ()})
    return calls


def test_the_command_walks_its_questions_and_goes_on(tmp_path, quick, capsys):
    command = ["random-weights", "--questions", "training", "--count", "3", "--size", "32", "--out", str(tmp_path)]
    main(command)
    assert len(quick) == 3 * 2 * (3 + 1)  # nets, layers, three images alone and one batch of them
    table = rows(tmp_path / "table.csv")
    assert [(row["layer"], row["way"], row["arm"]) for row in table[:4]] == [
        ("relu1", FREE, "untrained"), ("relu1", FREE, "trained"),
        ("relu1", NATURAL, "untrained"), ("relu1", NATURAL, "trained"),
    ]  # fmt: skip
    assert {row["n"] for row in table} == {"3"} and all(float(row["correlation"]) > 0.999 for row in table)
    assert (tmp_path / "errors.png").exists()
    lines = (tmp_path / "runs.csv").read_text().splitlines()
    (tmp_path / "runs.csv").write_text("\n".join([*lines[:-2], lines[-1][:20]]) + "\n")  # as a crash leaves it
    quick.clear()
    main(command)
    assert len(quick) == 1 and quick[0][2] == 2
    errors = [[float(row["error"]) for row in of] for of in (rows(tmp_path / "table.csv"), table)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)  # a batch of other images begins at other noise


def test_the_ways_are_three_descents_and_the_regulariser_smooths(images):
    x = images[:1].clamp(0.02, 0.98)
    found = {way: run(lossless(), "relu", x, 3) for way, run in random_weights.WAYS.items()}
    assert (found[FREE] - x).abs().mean() < 0.01 and (found[SLOW] - x).abs().mean() < 0.01
    rough = {way: float(y.diff(dim=3).square().sum()) for way, y in found.items()}
    assert rough[NATURAL] < 0.9 * rough[SLOW]


@needs_stamps
def test_the_texture_command_judges_and_goes_on(tmp_path, monkeypatch, capsys):
    made = []

    def quick(seed, keep):
        return lambda exemplar: made.append(seed) or torch.lerp(exemplar.mean((2, 3), True), exemplar, keep)

    arms = {
        "trained VGG-19": random_textures.Arm(partial(quick, keep=1.0), 1),
        "untrained VGG-19": random_textures.Arm(partial(quick, keep=0.3), 2),
    }
    monkeypatch.setattr(random_textures, "ARMS", arms)
    main(["random-textures", "--out", str(tmp_path), "--size", "96"])
    assert sorted(made) == 18 * [0] + 9 * [1]
    table = {row["arm"]: row for row in rows(tmp_path / "table.csv")}
    assert list(table) == [*random_textures.COPIES, *arms]
    real, kept, faded = (table[name] for name in (random_textures.REAL, *arms))
    assert float(real["apart"]) == pytest.approx(float(kept["apart"]), abs=1e-3)
    assert float(faded["difference"]) > 0.1 and faded["verdict"] == "worse" and kept["verdict"] == ""
    judges = rows(tmp_path / "judges.csv")
    assert [row["n"] for row in judges] == 5 * ["9"] and float(judges[-1]["apart"]) == 1  # shuffled pixels
    assert sum(float(row["apart"]) for row in judges) > sum(float(row["patches"]) for row in judges)
    assert (tmp_path / "textures.webp").stat().st_size > 1000
    made.clear()
    (tmp_path / "runs.csv").write_text("\n".join((tmp_path / "runs.csv").read_text().splitlines()[:-1]) + "\n")
    main(["random-textures", "--out", str(tmp_path), "--size", "96"])
    assert made == [1]


@needs_stamps
def test_the_style_command_tries_its_judge_on_blends(tmp_path, monkeypatch, capsys):
    def blend(net, x, style, content, layers, *, weight, coarsest, steps):
        return Preimage(torch.lerp(x, style, weight / (1 + weight) * (1.0 if "random" not in net.name else 0.7)), {})

    monkeypatch.setattr(random_styles.recipes, "transfer_style", blend)
    arms = {name: arm for name, arm in random_styles.ARMS.items() if "CourseNet" in name}
    monkeypatch.setattr(random_styles, "ARMS", arms)
    monkeypatch.setattr(random_styles, "NETWORKS", ("CourseNet",))
    main(["random-styles", "--out", str(tmp_path), "--size", "96"])
    judge = rows(tmp_path / "judge.csv")
    assert len(judge) == 6 and all(float(row["0"]) > float(row["1"]) for row in judge)
    (row,) = rows(tmp_path / "table.csv")
    assert 2 <= int(row["n"]) <= 6


def test_a_sliced_loss_makes_a_texture():
    """From the exemplar's own pixels in random order towards its spectrum, by a network of one convolution."""
    make = random_textures._sliced(lambda seed: models.RandomFilters((3, 5), 8, seed), ("3", "5"), 0)
    x = world.draw(1, seed=2, size=32).images
    found, noise = make(x), shuffled_pixels(x)
    assert spectrum_distance(found, x) < 0.7 * spectrum_distance(noise, x)


def test_grids_are_made_once(tmp_path, monkeypatch):
    made = []

    def invert(features, x, *, smoothness, stages):
        made.append(smoothness)
        return Preimage(x.flip(3), {})

    def paint(net, x, style, content, layers, **options):
        made.append(options["weight"])
        return Preimage(x.flip(2), {})

    monkeypatch.setattr(grids.recipes, "invert", invert)
    monkeypatch.setattr(grids.recipes, "transfer_style", paint)
    for command, file, calls, shape in (
        ("inversion-grid", "inversions.webp", 10, (6, 2)),
        ("style-grid", "styles.webp", 6, (3, 2)),
    ):
        for expected in (calls, 0):
            made.clear()
            main([command, "--out", str(tmp_path / command), "--size", "48"])
            assert len(made) == expected
        with Image.open(tmp_path / command / file) as sheet:
            assert sheet.width / sheet.height == pytest.approx(shape[0] / shape[1], rel=0.1)
    with (tmp_path / "inversion-grid" / "table.csv").open(newline="") as file:
        table = {row["layer"]: row for row in csv.DictReader(file)}
    assert list(table) == list(grids.LAYERS)
    net = models.load("vgg19_features")
    early = torch.nn.Sequential(*[net.get_submodule(name) for name in ("conv1_1", "relu1_1", "conv1_2", "relu1_2")])
    missed = []
    for name in grids.PHOTOGRAPHS[:2]:
        x = data.photograph(name, 48)
        code, other = (early((one - net.mean) / net.std) for one in (x, x.flip(3)))
        missed.append(100 * float((other - code).norm() / code.norm()))
    row = table["relu1_2"]
    assert (row["n"], float(row["least"])) == ("2", pytest.approx(min(missed), rel=1e-2))
    assert float(row["distance"]) == pytest.approx(sum(missed) / 2, rel=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["random-weights", "--questions", "trainings"], "no question 'trainings' (did you mean 'training'?)"),
        (["random-weights", "--count", "1"], "count must be at least 2"),
        (["random-textures", "--size", "8"], "size must be at least 96, got 8"),
        (["random-styles", "--size", "8"], "size must be at least 96, got 8"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
