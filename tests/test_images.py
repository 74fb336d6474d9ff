import pytest
import torch
from torch import nn

from course_lib import data, images


def fit(image, target, steps, lr):
    optimizer = torch.optim.Adam(image.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (image() - target).square().mean().backward()
        optimizer.step()
        image.project()
    return float((image() - target).detach().abs().mean())


@pytest.mark.parametrize("kind", ["pixels", "fourier", "latent"])
def test_each_unknown_can_become_a_photograph(kind):
    """Lucid's own test of a parametrisation: mean absolute error under 0.01 within 1000 Adam steps."""
    target = data.photograph("coffee", 64)
    image = {
        "pixels": lambda: images.Pixels(images.grey(64, 64)),
        "fourier": lambda: images.Fourier(64, 64),
        "latent": lambda: images.Latent(nn.Sigmoid(), torch.zeros(1, 3, 64, 64)),
    }[kind]()
    assert fit(image, target, 1000, 0.05) < 0.01


def test_pixels_stay_in_range_and_in_their_ball(generator):
    start = torch.rand(2, 3, 6, 6, generator=generator)
    image = images.Pixels(start, radius=0.1)
    with torch.no_grad():
        image.pixels += torch.randn(start.shape, generator=generator)
    image.project()
    assert 0 <= image().min() and image().max() <= 1
    assert (image() - start).abs().max() <= 0.1 + 1e-6


def test_pixels_do_not_write_into_their_start(generator):
    start = torch.rand(1, 3, 4, 4, generator=generator)
    before = start.clone()
    image = images.Pixels(start)
    with torch.no_grad():
        image.pixels += 1
    image.project()
    assert torch.equal(start, before)


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (torch.rand(3, 8, 8), ValueError, r"shape \(n, 3, h, w\), got \(3, 8, 8\)"),
        (torch.rand(1, 1, 8, 8), ValueError, "shape"),
        (torch.rand(0, 3, 8, 8), ValueError, "no images"),
        (torch.rand(1, 3, 8, 8) * 255, ValueError, r"lie in \[0, 1\], got"),
        (torch.full((1, 3, 8, 8), torch.nan), ValueError, "NaN"),
        (torch.full((1, 3, 8, 8), torch.inf), ValueError, "lie in"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, "divide 8-bit values by 255"),
        ([[0.0]], TypeError, "torch tensor"),
    ],
)
def test_bad_pictures_are_refused(start, error, message):
    with pytest.raises(error, match=message):
        images.Pixels(start)


def test_fourier_starts_near_grey_and_depends_on_its_seed():
    a, b, c = (images.Fourier(32, 48, n=2, seed=seed)().detach() for seed in (0, 0, 1))
    assert a.shape == (2, 3, 32, 48)
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert abs(float(a.mean()) - 0.5) < 0.05 and a.std() < 0.2


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (8, 9)])
def test_fourier_takes_any_size(height, width):
    assert images.Fourier(height, width)().shape == (1, 3, height, width)


def test_fourier_decay_makes_smoother_pictures():
    rough, smooth = (images.Fourier(64, 64, decay=decay)() for decay in (0.0, 2.0))

    def roughness(x):
        return x.diff(dim=3).std() / x.std()

    assert roughness(smooth) < 0.5 * roughness(rough)


def test_a_latent_code_is_clipped():
    image = images.Latent(nn.Identity(), torch.full((1, 3, 2, 2), 5.0), low=0.0, high=1.0)
    image.project()
    assert image().max() == 1


def test_jitter_moves_pixels_and_loses_none(generator):
    x = torch.rand(2, 3, 8, 8, generator=generator)
    moved = images.jitter(3)(x, generator)
    assert not torch.equal(moved, x)
    assert torch.equal(moved.flatten().sort().values, x.flatten().sort().values)
    assert torch.equal(images.jitter(0)(x, generator), x)


def test_jitter_reaches_every_shift_and_no_more(generator):
    spot = torch.zeros(1, 1, 9, 9)
    spot[0, 0, 4, 4] = 1
    seen = {tuple(images.jitter(1)(spot, generator)[0, 0].nonzero()[0].tolist()) for _ in range(200)}
    assert seen == {(i, j) for i in (3, 4, 5) for j in (3, 4, 5)}


def test_warps_that_do_nothing_do_nothing(generator):
    x = torch.rand(1, 3, 8, 12, generator=generator)
    assert torch.allclose(images.scale(1, 1)(x, generator), x, atol=1e-5)
    assert torch.allclose(images.rotate(0)(x, generator), x, atol=1e-5)


def test_scale_zooms_in_about_the_centre(generator):
    x = torch.zeros(1, 3, 40, 40)
    x[..., 10:30, 10:30] = 1  # a square that covers a quarter
    doubled = images.scale(2, 2)(x, generator)
    assert (doubled[..., 1:-1, 1:-1] == 1).all()
    assert abs(float(images.scale(1.5, 1.5)(x, generator).mean()) - 0.5625) < 0.02


def test_rotation_keeps_a_disc_on_an_oblong_picture(generator):
    y, x = torch.meshgrid(torch.arange(30.0) - 14.5, torch.arange(50.0) - 24.5, indexing="ij")
    disc = ((x**2 + y**2).sqrt() < 10).float().expand(1, 3, 30, 50)
    turned = images.rotate(45)(disc, generator)
    assert float((turned - disc).abs().mean()) < 0.01


def test_compose_applies_in_order_and_shares_the_generator():
    x = torch.rand(1, 3, 16, 16)
    both = images.compose(images.jitter(4), images.scale(0.8, 1.2))
    by_hand = torch.Generator().manual_seed(5)
    expected = images.scale(0.8, 1.2)(images.jitter(4)(x, by_hand), by_hand)
    assert torch.equal(both(x, torch.Generator().manual_seed(5)), expected)
    assert repr(both) == "compose(jitter(4), scale(0.8, 1.2))"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: images.jitter(-1), ValueError, "jitter's number of pixels must be at least 0, got -1"),
        (lambda: images.jitter(2.5), TypeError, "jitter's number of pixels is a whole number, got 2.5"),
        (lambda: images.jitter(True), TypeError, "whole number, got True"),
        (lambda: images.scale(0, 1), ValueError, "scale's low must be above 0, got 0"),
        (lambda: images.scale(2, 1), ValueError, "scale's high must be at least 2, got 1"),
        (lambda: images.scale(1, float("nan")), ValueError, "scale's high must be at least 1, got nan"),
        (lambda: images.scale("1", 2), TypeError, "scale's low is a number, got '1'"),
        (lambda: images.rotate(-1), ValueError, "rotate's degrees must be at least 0, got -1"),
        (lambda: images.rotate(float("inf")), ValueError, "rotate's degrees must be at least 0, got inf"),
        (lambda: images.rotate(True), TypeError, "rotate's degrees is a number, got True"),
        (lambda: images.compose(images.jitter(1), 3), TypeError, r"transforms such as jitter\(4\), got 3"),
    ],
)
def test_bad_transforms_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_blur_keeps_the_mean_and_smooths_only_when_due(generator):
    x = torch.rand(1, 3, 32, 32, generator=generator)
    prior = images.blur(1.5, every=4)
    assert torch.equal(prior(x, x, 3), x)
    blurred = prior(x, x, 4)
    assert blurred.std() < 0.4 * x.std()
    assert abs(float(blurred.mean() - x.mean())) < 0.01


def test_clipping_greys_the_given_share_of_the_least_pixels(generator):
    x = torch.rand(2, 3, 20, 20, generator=generator)
    gradient = torch.randn(2, 3, 20, 20, generator=generator)
    for prior, size in [
        (images.clip_small_norm(30), (x - 0.5).norm(dim=1)),
        (images.clip_small_contribution(30), ((x - 0.5) * gradient).sum(1).abs()),
    ]:
        grey = (prior(x, gradient, 1) == 0.5).all(1)
        assert grey.flatten(1).sum(1).tolist() == [120, 120]
        for i in range(2):
            assert size[i][grey[i]].max() < size[i][~grey[i]].min()


def test_bounded_range_projects_onto_the_ball_and_leaves_what_is_inside(generator):
    x = torch.rand(2, 3, 20, 20, generator=generator)
    norm = (x - 0.5).norm(dim=1)
    bounded = images.bounded_range(0.4)(x, x, 1)
    inside = (norm < 0.4)[:, None].expand_as(x)
    assert inside.any() and not inside.all()
    assert torch.allclose((bounded - 0.5).norm(dim=1), norm.clamp(max=0.4), atol=1e-6)
    assert torch.equal(bounded[inside], (0.5 + (x - 0.5))[inside])
    cosine = torch.nn.functional.cosine_similarity(bounded - 0.5, x - 0.5, dim=1)
    assert torch.allclose(cosine, torch.ones(2, 20, 20), atol=1e-5)  # the nearest point lies on the same ray


def test_a_centred_picture_begins_at_its_start():
    start = data.photograph("coffee", 48)
    assert float((images.Centred(start)() - start).detach().abs().max()) < 0.05


def test_a_centred_picture_moves_most_in_its_centre_though_adam_divides_by_the_gradient():
    start = images.grey(48, 48)
    image = images.Centred(start, sigma=0.3)
    fit(image, torch.ones_like(start), 30, 0.05)  # wants every pixel alike to be white
    moved = (image() - start).detach().abs().mean(1)[0]
    assert moved[20:28, 20:28].mean() > 0.3
    assert moved[:4, :4].mean() < 0.02
    with torch.no_grad():
        image.change.spectrum.mul_(1e3)
    assert 0 <= image().min() and image().max() <= 1


def test_a_centre_of_no_width_is_refused():
    with pytest.raises(ValueError, match="sigma must be above 0, got 0"):
        images.Centred(images.grey(8, 8), sigma=0)
    with pytest.raises(ValueError, match="limit must be above 0"):
        images.bounded_range(0)
