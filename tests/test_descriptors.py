import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.feature import hog

from course_lib import data, descriptors
from course_lib.descriptors import HOG, DenseSIFT, glyphs, luma, straight_through
from course_lib.energy import distance
from course_lib.images import Pixels
from course_lib.preimage import minimize
from course_lib.taps import Taps

REFERENCES = sorted((Path(__file__).parent / "references").glob("vlfeat_*.npz"))


@pytest.fixture(params=REFERENCES, ids=lambda path: path.stem)
def vlfeat(request):
    """What VLFeat's C library outputs for a small image (tools/vlfeat_references.py)."""
    with np.load(request.param) as arrays:
        reference = {name: torch.from_numpy(arrays[name]) for name in arrays}
    image = reference["picture"].float() / 255
    return reference | {"image": image.permute(2, 0, 1)[None], "green": image[..., 1].expand(1, 3, -1, -1)}


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def waves(angle, side=48, period=12.0, dtype=torch.float32):
    """A grey image whose gradient points at `angle` degrees from right to down, or the other way."""
    positions = torch.arange(side, dtype=dtype)
    along = positions * math.cos(math.radians(angle)) + positions[:, None] * math.sin(math.radians(angle))
    return (0.5 + 0.4 * torch.sin(2 * math.pi * along / period)).expand(1, 3, -1, -1)


# ---------------------------------------------------------------- HOG


def test_there_are_references():
    assert len(REFERENCES) == 4


@pytest.mark.parametrize("texture", [False, True])
def test_hard_bins_are_vlfeats_up_to_rounding(vlfeat, texture):
    code = HOG(int(vlfeat["cell"]), texture=texture)(vlfeat["image"])[0]
    assert torch.allclose(code, vlfeat["hard"][: 31 if texture else 27], rtol=0, atol=1e-6)


def test_bilinear_bins_are_vlfeats_up_to_its_arc_cosine(vlfeat):
    """VLFeat takes acos in single precision, which is coarse where the gradient lies along a direction."""
    difference = (HOG(int(vlfeat["cell"]), bilinear=True, texture=True)(vlfeat["image"])[0] - vlfeat["bilinear"]).abs()
    assert difference[:, 2:-2, 2:-2].max() < 1e-4
    assert difference.max() < 2e-4
    assert difference.mean() < 5e-6


def test_bilinear_bins_are_vlfeats_up_to_rounding(vlfeat):
    phi = HOG(int(vlfeat["cell"]), bilinear=True, texture=True, vlfeat=True)
    assert torch.allclose(phi(vlfeat["image"])[0], vlfeat["bilinear"], rtol=0, atol=1e-6)


def test_vlfeats_arc_cosine_has_the_exact_gradient():
    x = noise(1, 3, 32, 32, dtype=torch.double).requires_grad_()
    weights = noise(1, 27, 4, 4, seed=1, dtype=torch.double)
    ours, theirs = (
        torch.autograd.grad((HOG(bilinear=True, vlfeat=vlfeat)(x) * weights).sum(), x)[0] for vlfeat in (False, True)
    )
    assert (ours - theirs).abs().max() < 1e-3 * ours.abs().max()
    flat = torch.full((1, 3, 32, 32), 0.5).requires_grad_()
    code = HOG(bilinear=True, vlfeat=True)(flat)
    assert code.abs().max() < 1e-6 and torch.autograd.grad(code.sum(), flat)[0].isfinite().all()


@pytest.mark.parametrize("angle", range(5, 180, 20))
def test_the_strongest_direction_is_scikit_images(angle):
    """scikit-image's bins begin where ours have their middle."""
    x = waves(angle, 64, period=16)
    theirs = hog(x[0, 0].numpy(), orientations=18, pixels_per_cell=(64, 64), cells_per_block=(1, 1)).argmax()
    ours = HOG()(x)[0, 18:, 2:-2, 2:-2].sum((1, 2)).argmax()
    apart = (20 * ours - (10 * theirs + 5) + 90) % 180 - 90  # degrees
    assert abs(apart) <= 10


@pytest.mark.parametrize("k", range(9))
def test_waves_of_one_direction_fill_its_bins_and_no_others(k):
    for bilinear in (False, True):
        code = HOG(bilinear=bilinear)(waves(20 * k))[0, :, 2:-2, 2:-2].mean((1, 2))
        own = [k, k + 9, k + 18]
        assert code[own].min() > 0.25
        assert code.sum() - code[own].sum() < (0.25 if bilinear else 1e-6)


def test_a_gradient_between_two_directions_is_shared():
    """Waves at 30 degrees lie between 20 and 40, those at 25 are three quarters 20."""
    code = HOG(bilinear=True)(waves(30, dtype=torch.double))[0, :, 2:-2, 2:-2].mean((1, 2))
    assert code[1] / code[2] == pytest.approx(1, abs=0.1)
    sift = DenseSIFT(bin=6)(waves(45 / 4, 64, dtype=torch.double)).mean((0, 2, 3)).view(4, 4, 8)[1:3, 1:3].sum((0, 1))
    assert sift[0] > 2 * sift[1] > 20 * sift[2]


def test_the_directed_bins_tell_light_to_dark_from_dark_to_light():
    ramp = torch.linspace(0, 1, 48).expand(1, 3, 48, 48)
    assert HOG()(ramp)[0, :18, 2:-2, 2:-2].mean((1, 2)).argmax() == 0  # lighter to the right
    assert HOG()(ramp.flip(3))[0, :18, 2:-2, 2:-2].mean((1, 2)).argmax() == 9
    undirected = HOG()(ramp)[:, 18:], HOG()(ramp.flip(3))[:, 18:]
    assert torch.allclose(*undirected, atol=1e-6)


@pytest.mark.parametrize("bilinear", [False, True])
def test_a_mirrored_picture_gives_permuted_channels(bilinear):
    x = noise(2, 3, 40, 48, dtype=torch.double)
    phi = HOG(bilinear=bilinear, texture=True)
    directed = [(9 - k) % 18 for k in range(18)]
    undirected = [18 + (9 - k) % 9 for k in range(9)]
    mirrored = phi(x)[:, [*directed, *undirected, 28, 27, 30, 29]].flip(3)
    assert torch.allclose(phi(x.flip(3)), mirrored, atol=1e-6)


def test_the_light_may_change_but_not_the_code():
    """The 1e-4 under the root is all that a change of contrast moves."""
    x = noise(1, 3, 48, 48)
    for phi in (HOG(), HOG(bilinear=True), DenseSIFT()):
        assert torch.allclose(phi(0.3 + 0.5 * x), phi(x), atol=1e-4)


def test_the_steepest_colour_counts():
    x = torch.full((1, 3, 32, 32), 0.5)
    x[:, 2] = waves(40, 32)[:, 0]
    x[:, 0] = 0.5 + 0.1 * (waves(100, 32)[:, 0] - 0.5)
    code = HOG()(x)[0, 18:, 1:-1, 1:-1].mean((1, 2))
    assert code.argmax() == 2


def test_without_the_clamp_a_bin_that_overshot_has_a_gradient():
    x = waves(40, 32, dtype=torch.double).clone().requires_grad_()
    gradients = []
    for clamp in (0.2, math.inf):
        code = HOG(bilinear=True, clamp=clamp)(x)
        gradients.append(torch.autograd.grad(code[0, 20, 2, 2], x)[0].abs().max())
    assert gradients[0] == 0 and gradients[1] > 1e-3
    assert code[0, 20, 2, 2] > 0.4


@pytest.mark.parametrize(
    ("cell", "height", "width", "rows", "columns"), [(8, 64, 96, 8, 12), (8, 60, 59, 8, 7), (5, 33, 32, 7, 6)]
)
def test_sides_round_to_the_nearest_number_of_cells(cell, height, width, rows, columns):
    assert HOG(cell)(noise(2, 3, height, width)).shape == (2, 27, rows, columns)
    assert HOG(cell, texture=True)(noise(2, 3, height, width)).shape == (2, 31, rows, columns)


# ---------------------------------------------------------------- dense SIFT


def test_dense_sift_is_vlfeats_up_to_rounding(vlfeat):
    code = DenseSIFT(int(vlfeat["bin"]), vlfeat=True)(vlfeat["green"])[0]
    assert (code - vlfeat["sift"]).abs().max() < 5e-6


def test_the_papers_dense_sift_is_vlfeats_up_to_its_arc_tangent(vlfeat):
    """VLFeat's errs by up to 0.01 where ours is exact."""
    difference = (F.normalize(DenseSIFT(int(vlfeat["bin"]))(vlfeat["green"])[0], dim=0) - vlfeat["sift"]).abs()
    assert difference.max() < 5e-3
    assert difference.mean() < 5e-4


def test_the_papers_dense_sift_stops_at_the_clamp(monkeypatch):
    monkeypatch.setattr(descriptors, "_quick_angle", torch.angle)  # the other difference
    x = data.photograph("chelsea", 96)
    paper, lowe = DenseSIFT()(x), DenseSIFT(vlfeat=True)(x)
    assert paper.max() == pytest.approx(0.2)
    assert lowe.max() > 0.21
    assert torch.allclose(lowe.norm(dim=1), torch.ones(1, 17, 17), atol=1e-4)
    assert torch.allclose(paper / paper.norm(dim=1, keepdim=True), lowe, atol=1e-5)


@pytest.mark.parametrize(("bin", "height", "width", "rows", "columns"), [(5, 64, 96, 10, 17), (4, 13, 17, 1, 2)])
def test_descriptors_are_one_bin_apart(bin, height, width, rows, columns):
    assert DenseSIFT(bin)(noise(2, 3, height, width)).shape == (2, 128, rows, columns)


# ---------------------------------------------------------------- both, as layers


@pytest.mark.parametrize(
    "phi", [HOG(4, bilinear=True), HOG(4, bilinear=True, texture=True), DenseSIFT(3), DenseSIFT(3, vlfeat=True)]
)
def test_gradients_agree_with_finite_differences(phi):
    x = noise(1, 3, 12, 10, seed=3, dtype=torch.double).requires_grad_()
    assert torch.autograd.gradcheck(phi, x, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("phi", [HOG(), HOG(bilinear=True), DenseSIFT(), DenseSIFT(vlfeat=True)])
class TestLayer:
    def test_flat_ground_has_the_code_zero_and_a_finite_gradient(self, phi):
        x = torch.full((1, 3, 32, 32), 0.4, requires_grad=True)
        code = phi(x)
        code.sum().backward()
        assert code.abs().max() == 0
        assert x.grad.isfinite().all()

    def test_a_batch_is_described_as_its_images_alone(self, phi):
        x = noise(3, 3, 40, 40)
        alone = torch.cat([phi(x[i : i + 1]) for i in range(3)])
        assert torch.allclose(phi(x), alone, atol=1e-6)

    def test_images_too_small_are_refused(self, phi):
        with pytest.raises(ValueError, match=r"needs images of at least 16 x 16, got 15 x 40"):
            phi(noise(1, 3, 15, 40))

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (torch.zeros(1, 1, 32, 32), ValueError, "shape"),
            (torch.zeros(3, 32, 32), ValueError, "shape"),
            (torch.full((1, 3, 32, 32), 255.0), ValueError, "255"),
            (torch.full((1, 3, 32, 32), torch.nan), ValueError, "NaN"),
            (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), TypeError, "uint8"),
        ],
    )
    def test_bad_images_are_refused(self, phi, x, error, message):
        with pytest.raises(error, match=message):
            phi(x)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_any_precision_is_described_in_its_own(self, phi, dtype):
        x = noise(1, 3, 32, 32).to(dtype)
        code = phi(x)
        assert code.dtype == dtype
        exact = phi(x.float())
        assert (code.float() - exact).abs().max() <= 1e-6 + exact.max() * torch.finfo(dtype).eps
        with torch.inference_mode():
            assert torch.equal(phi(x.clone()), code)

    def test_taps_read_it(self, phi):
        x = noise(1, 3, 32, 32)
        assert torch.equal(Taps(phi, "")(x)[""], phi(x))


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 2 pixels a side, got 1"):
        HOG(1)
    with pytest.raises(ValueError, match="at least 1 pixel a side, got 0"):
        DenseSIFT(0)
    for descriptor, name in ((HOG, "cell"), (DenseSIFT, "bin")):
        with pytest.raises(TypeError, match=f"the {name} is a whole number, got 4.5"):
            descriptor(4.5)


# ---------------------------------------------------------------- gradients for a descent


@pytest.mark.parametrize("phi", [HOG(), HOG(bilinear=True, texture=True), DenseSIFT(), DenseSIFT(vlfeat=True)])
def test_straight_through_outputs_the_same(phi):
    x = noise(2, 3, 40, 48)
    with straight_through():
        through = phi(x)
    assert torch.allclose(through, phi(x), atol=1e-6)


def gradient(phi, x, channel):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(phi(x)[:, channel, 2:-2, 2:-2].sum(), x)[0]


def ramp(angle, side=48):
    """A grey image with the same gradient everywhere, at `angle` degrees from right to down."""
    positions = torch.linspace(-0.3, 0.3, side)
    along = positions * math.cos(math.radians(angle)) + positions[:, None] * math.sin(math.radians(angle))
    return (0.5 + along).expand(1, 3, -1, -1)


# the middle one of DenseSIFT's bins to the right; those of the corners hold less than the clamp
@pytest.mark.parametrize(("phi", "channel"), [(HOG(bilinear=True), 0), (DenseSIFT(), 40)], ids=["HOGb", "DSIFT"])
def test_straight_through_a_bin_above_the_clamp_has_a_gradient(phi, channel):
    assert gradient(phi, ramp(0), channel).abs().max() == 0
    with straight_through():
        assert gradient(phi, ramp(0), channel).abs().max() > 0.01


def test_straight_through_a_pixel_can_turn_into_another_bin():
    """At 8 degrees all pixels are in the bin at 0, near its border at 10; the bin at 20 is empty."""
    assert HOG()(ramp(8))[:, 1, 2:-2, 2:-2].max() == 0
    assert gradient(HOG(), ramp(8), 1).abs().max() == 0
    with straight_through():
        assert gradient(HOG(), ramp(8), 1).abs().max() > 0.01


def test_straight_through_ends_with_an_error_too():
    with pytest.raises(RuntimeError, match="stop"), straight_through():
        raise RuntimeError("stop")
    assert gradient(HOG(bilinear=True), ramp(0), 0).abs().max() == 0


@pytest.mark.parametrize("phi", [HOG(bilinear=True), DenseSIFT()])
def test_an_image_is_inverted_to_one_with_its_code(phi):
    x = data.photograph("chelsea", 64)
    start = 0.5 + 0.02 * (noise(1, 3, 64, 64) - 0.5)
    found = minimize(phi, distance(phi(x)), Pixels(start), steps=100, progress=False)
    assert found.total[0] > 0.3
    assert found.total[-1] < 0.05


# ---------------------------------------------------------------- brightness


def test_luma_is_pillows_grey():
    """Pillow converts to grey with the same weights, in whole numbers."""
    image = (noise(1, 3, 20, 30) * 255).byte()
    grey = np.asarray(Image.fromarray(image[0].permute(1, 2, 0).numpy()).convert("L"))
    found = luma(image.double())
    assert found.shape == (1, 1, 20, 30)
    assert np.abs(found[0, 0].numpy() - grey).max() <= 1
    assert np.abs(found[0, 0].numpy() - grey).mean() < 0.3


# ---------------------------------------------------------------- glyphs


@pytest.mark.parametrize("k", range(9))
def test_glyphs_draw_the_edge_and_not_its_gradient(k):
    """The bar of waves at 20 k degrees lies along their crests."""
    drawn = glyphs(HOG()(waves(20 * k)), side=15)[0, 0, 45:60, 45:60]  # one cell of the middle
    rows, columns = (drawn > 0.5 * drawn.max()).nonzero().double().T
    rows, columns = rows - 7, columns - 7
    u = math.cos(math.radians(20 * k)), math.sin(math.radians(20 * k))
    across = (columns * u[0] + rows * u[1]).square().mean()
    along = (columns * u[1] - rows * u[0]).square().mean()
    assert along > 20 * across


def test_glyphs_have_the_size_and_range_of_an_image():
    drawn = glyphs(HOG(texture=True)(data.photograph("chelsea", 64)), side=10)
    assert drawn.shape == (1, 1, 80, 80)
    assert drawn.min() == 0 and 0.3 < drawn.max() <= 1
    with pytest.raises(ValueError, match=r"HOG is \(n, 27 or 31, h, w\), got \(1, 128, 4, 4\)"):
        glyphs(torch.zeros(1, 128, 4, 4))
