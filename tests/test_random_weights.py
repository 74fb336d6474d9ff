import csv
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import measure, models, world
from course_lib.energy import squared_norm
from course_lib.preimage import Preimage
from course_lib.recipes import greedy
from course_lib.reproduce import random_textures, random_weights
from course_lib.reproduce.__main__ import main
from course_lib.reproduce.random_weights import FREE, NATURAL, SLOW, Question, Run
from course_lib.taps import Taps


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


def test_textures_are_two_crops_of_one_material():
    for name, (exemplar, more) in random_textures.textures(64).items():
        assert exemplar.shape == more.shape == (1, 3, 64, 64), name
        assert 0 <= float(exemplar.min()) and float(exemplar.max()) <= 1
        assert not torch.equal(exemplar, more)
        grey = float((exemplar[:, 0] - exemplar[:, 2]).abs().max()) == 0
        assert grey == (name in ("brick", "grass", "gravel"))


def test_styles_are_compared_at_equal_content():
    """Two straight curves, style = 2 - content and 1 - content / 2, share contents from 0.4 to 0.8."""
    points = {"trained SqueezeNet": [(0.2, 1.8), (0.8, 1.2)], "untrained SqueezeNet": [(0.4, 0.8), (1.0, 0.5)]}
    done = [
        random_textures.Run(arm, subject, 0, float(i), times * patches, 0.0, content, 1.0)
        for arm, of in points.items()
        for subject, times in (("a", 1.0), ("b", 1.1 if arm.startswith("un") else 1.0), ("c", 1.0))
        for i, (content, patches) in enumerate(of)
    ]
    *rows, ratio = random_textures.style_table(done)
    assert [row["content"] for row in rows] == pytest.approx([0.6] * 3)
    assert (rows[0]["trained"], rows[0]["untrained"]) == pytest.approx((1.4, 0.7))
    assert ratio["ratio"] == pytest.approx(0.5 * 1.1 ** (1 / 3))


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


def test_the_texture_command_makes_its_scale_and_its_table(tmp_path, monkeypatch):
    def quick(net, exemplar, layers, *, steps, seed):
        return Preimage(exemplar.flip(3) * (0.9 if "random" in net.name else 0.8), {})

    monkeypatch.setattr(random_textures.recipes, "synthesize_texture", quick)
    arms = {name: arm for name, arm in random_textures.ARMS.items() if "CourseNet" in name}
    monkeypatch.setattr(random_textures, "ARMS", arms)
    two = dict(list(random_textures.textures(64).items())[2:4])
    monkeypatch.setattr(random_textures, "textures", lambda size: two)
    main(["random-textures", "--out", str(tmp_path)])
    table = {row["arm"]: row for row in rows(tmp_path / "table.csv")}
    assert list(table) == ["noise", "more of it", *arms]
    assert float(table["noise"]["patches"]) == 1
    assert float(table["untrained CourseNet"]["patches difference"]) < 0  # less far from the exemplar
    assert table["trained CourseNet"]["patches difference"] == ""
    assert len(list(tmp_path.glob("*.png"))) == 2 * (2 + 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["random-weights", "--questions", "trainings"], "no question 'trainings' (did you mean 'training'?)"),
        (["random-weights", "--count", "1"], "count must be at least 2"),
        (["random-textures", "--size", "8"], "size must be at least 64, got 8"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
