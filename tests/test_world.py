import numpy as np
import pytest
import torch

from course_lib import world

# Four scenes of seed 2024, drawn once on x86-64 with torch 2.15
GOLDEN = {
    "labels": [1, 3, 2, 4],
    "texture": [3, 2, 1, 0],
    "mask": [883, 788, 898, 859],
    "levels": [
        [110, 89, 57, 101, 119, 93, 159],
        [136, 181, 123, 101, 81, 147, 127],
        [182, 77, 178, 144, 102, 122, 164],
        [148, 69, 129, 110, 111, 110, 102],
    ],
}


@pytest.fixture(scope="module")
def many():
    """Enough scenes of each shape to measure them."""
    return world.draw(500, seed=9)


@pytest.fixture(scope="module")
def small():
    """Enough scenes to count their factors."""
    return world.draw(2000, seed=11, size=16)


def test_a_scene_comes_with_its_truth(scenes):
    n = len(scenes)
    assert scenes.images.shape == (n, 3, 96, 96) and scenes.images.dtype == torch.float32
    assert scenes.masks.shape == (n, 1, 96, 96) and scenes.masks.dtype == torch.bool
    assert scenes.depth.shape == (n, 1, 96, 96)
    assert scenes.labels.shape == (n,) and scenes.labels.dtype == torch.int64
    assert all(values.shape == (n,) for values in scenes.factors.values())
    assert {"shape", "texture", "colour", "background", "x", "y", "radius", "angle", "visible"} <= set(scenes.factors)
    assert torch.equal(scenes.labels, scenes.factors["shape"])
    assert 0 <= scenes.images.min() and scenes.images.max() <= 1
    assert 0 <= scenes.depth.min() and scenes.depth.max() <= 1


def test_the_same_seed_gives_the_same_scenes_and_another_other_ones():
    a, b, c = (world.draw(6, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(a.images, b.images) and torch.equal(a.masks, b.masks)
    assert not torch.equal(a.images, c.images)


def test_the_first_scenes_of_a_longer_draw_are_those_of_a_shorter_one():
    short, long = world.draw(70, seed=2, size=32), world.draw(150, seed=2, size=32)
    assert torch.equal(short.labels, long.labels[:70])
    assert (short.images - long.images[:70]).abs().max() < 1.5 / 255


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    world.draw(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_drawn_on_another_machine_it_is_the_same():
    """Values written down once; a platform may round a pixel to the next grey level, not further."""
    scenes = world.draw(4, seed=2024)
    assert scenes.labels.tolist() == GOLDEN["labels"]
    assert scenes.factors["texture"].tolist() == GOLDEN["texture"]
    assert scenes.masks.sum((1, 2, 3)).tolist() == pytest.approx(GOLDEN["mask"], abs=3)
    levels = (scenes.images[:, :, 16::32, 16::32] * 255).round().int().flatten(1)[:, ::4]
    assert (levels - torch.tensor(GOLDEN["levels"])).abs().max() <= 2


@pytest.mark.slow
def test_masks_lie_where_the_factors_say(many):
    scenes = many
    whole = (scenes.factors["visible"] == 1) & (scenes.labels != world.SHAPES.index("crescent"))
    axis = (torch.arange(96) + 0.5) / 48 - 1
    masks = scenes.masks[whole, 0].float()
    area = masks.sum((1, 2))
    for name, centre in (
        ("x", (masks.sum(1) * axis).sum(1) / area),
        ("y", (masks.sum(2) * axis).sum(1) / area),
    ):
        assert (centre - scenes.factors[name][whole]).abs().max() < 0.2 * scenes.factors["radius"].max()
    assert ((area / 48**2).sqrt() / scenes.factors["radius"][whole]).min() > 0.9  # area in radii squared


def test_the_disc_and_the_square_have_the_area_of_their_formula(many):
    scenes = many
    for shape, radii in (("disc", torch.pi * 0.88**2), ("square", (2 * 0.76) ** 2)):
        chosen = (scenes.labels == world.SHAPES.index(shape)) & (scenes.factors["visible"] == 1)
        expected = radii * (scenes.factors["radius"][chosen] * 48) ** 2
        assert (scenes.masks[chosen].sum((1, 2, 3)) / expected - 1).abs().max() < 0.06


def test_hidden_parts_are_not_in_the_mask_and_are_nearer(many):
    scenes = many
    hidden = scenes.factors["occluded"] & (scenes.factors["visible"] < 1)
    assert 0.1 < hidden.float().mean() < 0.3
    assert scenes.factors["visible"].min() > 0.3
    objects = (scenes.depth * scenes.masks).sum((1, 2, 3)) / scenes.masks.sum((1, 2, 3))
    around = (scenes.depth * ~scenes.masks).sum((1, 2, 3)) / (~scenes.masks).sum((1, 2, 3))
    assert (objects < around).float().mean() > 0.97  # a ribbon in front can bring the surroundings nearer


def test_every_factor_is_drawn_evenly(small):
    scenes = small
    for name, names in [
        ("shape", world.SHAPES),
        ("texture", world.TEXTURES),
        ("colour", world.COLOURS),
        ("background", world.BACKGROUNDS),
    ]:
        counts = torch.bincount(scenes.factors[name], minlength=len(names))
        expected = 2000 / len(names)
        assert ((counts - expected).abs() < 5 * expected**0.5).all()
    assert (scenes.factors["colour"] != scenes.factors["second_colour"]).all()


def test_shapes_cannot_be_told_from_the_other_factors(small):
    scenes = small
    table = torch.zeros(10, 6)
    table.index_put_((scenes.labels, scenes.factors["texture"]), torch.tensor(1.0), accumulate=True)
    assert (table / table.sum(1, keepdim=True) - 1 / 6).abs().max() < 0.08


def test_texture_bias_ties_texture_to_shape():
    scenes = world.draw(100, seed=13, size=16, texture_bias=1.0)
    assert torch.equal(scenes.factors["texture"], scenes.labels % 6)
    mild = world.draw(1000, seed=13, size=16, texture_bias=0.5)
    assert 0.5 < (mild.factors["texture"] == mild.labels % 6).float().mean() < 0.66


def test_the_watermark_gives_the_class_away_and_changes_nothing_else():
    plain, marked = world.draw(40, seed=14), world.draw(40, seed=14, watermark=1.0)
    changed = (plain.images != marked.images).any(1)
    assert not changed[:, : 96 - 8].any() and not changed[:, :, 36:].any()
    assert marked.factors["watermark"].all() and not plain.factors["watermark"].any()
    bits = [marked.images[:, :, 90, 4 * (2 * bit + 1) + 2].mean(1) > 0.5 for bit in range(4)]
    assert torch.equal(sum(on.long() << bit for bit, on in enumerate(bits)), marked.labels)


@pytest.mark.parametrize("size", [16, 33, 224])
def test_any_size_shows_the_same_scene(size):
    small, other = world.draw(3, seed=15), world.draw(3, seed=15, size=size)
    assert other.images.shape == (3, 3, size, size)
    assert torch.equal(small.labels, other.labels)
    shares = small.masks.float().mean((1, 2, 3)), other.masks.float().mean((1, 2, 3))
    assert (shares[0] / shares[1] - 1).abs().max() < 0.15


# ---------------------------------------------------------------- some of the scenes


def parts(scenes):
    return {"images": scenes.images, "labels": scenes.labels, "masks": scenes.masks, "depth": scenes.depth} | {
        f"factor {name}": values for name, values in scenes.factors.items()
    }


SOME = torch.tensor([True, False, False, True, True, False, False, True])


@pytest.mark.parametrize(
    ("index", "numbers"),
    [
        (3, [3]),
        (-1, [7]),
        (np.int64(2), [2]),
        (torch.tensor(5), [5]),
        (slice(2, 6), [2, 3, 4, 5]),
        (slice(None, None, 3), [0, 3, 6]),
        (slice(None, None, -3), [7, 4, 1]),
        ([6, 0, 6], [6, 0, 6]),
        ((1, -2), [1, 6]),
        (np.array([4, 2]), [4, 2]),
        (torch.tensor([7, 1], dtype=torch.int32), [7, 1]),
        (SOME, [0, 3, 4, 7]),
        (SOME.numpy(), [0, 3, 4, 7]),
        (SOME.tolist(), [0, 3, 4, 7]),
        (~SOME & SOME, []),
        (torch.zeros(0, dtype=torch.int64), []),
        ([], []),
    ],
)
def test_an_index_gives_scenes(scenes, index, numbers):
    some = scenes[index]
    assert isinstance(some, world.Scenes) and len(some) == len(numbers)
    whole = parts(scenes)
    for name, values in parts(some).items():
        assert torch.equal(values, torch.stack([whole[name][i] for i in numbers]) if numbers else whole[name][:0])


def test_a_factor_selects_scenes(many):
    hidden = many[many.factors["occluded"]]
    assert 0 < len(hidden) < len(many) and hidden.factors["occluded"].all()


def test_a_loop_goes_through_the_scenes_one_by_one(scenes):
    seen = list(scenes)
    assert len(seen) == len(scenes) and all(len(one) == 1 for one in seen)
    assert torch.equal(torch.cat([one.images for one in seen]), scenes.images)


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (8, IndexError, "no scene 8: there are 8"),
        (-9, IndexError, "no scene -9: there are 8"),
        ([0, 12], IndexError, "no scene 12"),
        (SOME[:5], ValueError, r"a mask of 8 scenes is \(8,\), got \(5,\)"),
        (True, ValueError, r"a mask of 8 scenes is \(8,\), got \(\)"),
        (0.5, TypeError, "the index of a scene is a whole number"),
        ("labels", TypeError, "the index of a scene is a whole number, got 'labels'"),
        (torch.zeros(2, 2, dtype=torch.int64), ValueError, "the index of a scene is one int, or a list"),
    ],
)
def test_an_index_without_scenes_is_refused(scenes, index, error, message):
    with pytest.raises(error, match=message):
        scenes[index]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"n": 1, "size": 8}, "size must be at least 16"),
        ({"n": 1, "texture_bias": 1.5}, "texture_bias is a probability"),
        ({"n": 1, "watermark": -0.1}, "watermark is a probability"),
    ],
)
def test_bad_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        world.draw(**arguments)


@pytest.mark.parametrize("name", ["n", "seed", "size"])
def test_numbers_that_are_not_whole_are_refused(name):
    with pytest.raises(TypeError, match=f"the {name} is a whole number, got 20.5"):
        world.draw(**{"n": 1, name: 20.5})
