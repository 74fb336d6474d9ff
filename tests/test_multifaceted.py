import pytest
import torch

from course_lib import recipes, world
from course_lib.taps import Taps


@pytest.fixture(scope="module")
def stars_and_rings():
    """24 stars and 12 rings: two facets that a network of shapes keeps apart."""
    scenes = world.draw(400, seed=321)
    stars, rings = (scenes.labels == world.SHAPES.index(name) for name in ("star", "ring"))
    return torch.cat([scenes.images[stars][:24], scenes.images[rings][:12]])


def facets(net, images, **options):
    return recipes.multifaceted(net, "fc8", 3, images, **{"code_layer": "relu6", "facets": 2, "nearest": 10} | options)


def test_facets_begin_at_the_means_of_the_clusters_the_larger_first(coursenet, stars_and_rings):
    start = facets(coursenet, stars_and_rings, steps=0).image
    means = torch.stack([stars_and_rings[:24].mean(0), stars_and_rings[24:].mean(0)])
    apart = (start[:, None] - means).square().mean((2, 3, 4))  # (facet, cluster)
    assert apart.argmin(1).tolist() == [0, 1]


def test_with_one_facet_and_all_neighbours_the_start_is_the_mean_image(coursenet, stars_and_rings):
    start = facets(coursenet, stars_and_rings, facets=1, nearest=36, steps=0).image
    assert float((start[0] - stars_and_rings.mean(0)).abs().max()) < 0.05  # the faint noise


@pytest.mark.slow
def test_each_facet_rises_above_what_its_cluster_evokes(coursenet, stars_and_rings):
    found = facets(coursenet, stars_and_rings, steps=48)
    scores = Taps(coursenet, "fc8")(found.image)["fc8"][:, 3]
    evoked = Taps(coursenet, "fc8")(stars_and_rings[:24])["fc8"][:, 3]
    assert found.image.shape == (2, 3, 96, 96)
    assert (scores > evoked.mean()).all()


def test_the_seed_fixes_everything(coursenet, stars_and_rings):
    a, b, c = (facets(coursenet, stars_and_rings, steps=3, seed=seed).image for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("count", [0, 37])
def test_an_impossible_number_of_facets_is_refused(count, coursenet, stars_and_rings):
    with pytest.raises(ValueError, match=f"from 1 to the number of images, 36, got {count}"):
        facets(coursenet, stars_and_rings, facets=count)


def test_a_class_name_is_a_channel_and_several_are_refused(coursenet, stars_and_rings):
    options = {"code_layer": "relu6", "facets": 1, "steps": 1}
    by_name, by_number = (
        recipes.multifaceted(coursenet, "fc8", c, stars_and_rings, **options).image for c in ("star", 3)
    )
    assert world.SHAPES[3] == "star" and torch.equal(by_name, by_number)
    with pytest.raises(ValueError, match=r"takes one channel, got \[3, 5\]"):
        recipes.multifaceted(coursenet, "fc8", [3, 5], stars_and_rings, **options)
    with pytest.raises(ValueError, match="nearest must be at least 1, got 0"):
        facets(coursenet, stars_and_rings, nearest=0)


def test_an_unknown_code_layer_is_named(coursenet, stars_and_rings):
    with pytest.raises(ValueError, match="no layer 'fc9'"):
        facets(coursenet, stars_and_rings, code_layer="fc9")
