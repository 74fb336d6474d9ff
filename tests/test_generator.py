import copy
import hashlib

import pytest
import torch

from course_lib import generator, models, world
from course_lib.taps import Taps
from course_lib.train import generator as train_generator


@pytest.fixture(scope="module")
def painted(coursenet):
    """100 scenes that nobody was trained on, their codes, and what the generator makes of these."""
    scenes = world.draw(100, seed=77)
    with torch.no_grad():
        codes = Taps(coursenet, "relu6")(scenes.images)["relu6"]
        return scenes, codes, generator.load(coursenet)(codes)


def test_codes_become_images(painted):
    _, codes, images = painted
    assert images.shape == (len(codes), 3, 96, 96)
    assert 0 <= images.min() and images.max() <= 1


def test_codes_count_in_units_of_their_range(coursenet):
    """Twice the code in twice the range is the same image; twice the code alone is not."""
    made = generator.load(coursenet)
    code = made.typical[None].clone()
    once = made(code)
    assert not torch.allclose(made(2 * code), once, atol=1e-3)
    made.get_buffer("high").mul_(2)
    assert torch.allclose(made(2 * code), once, atol=1e-5)


def test_a_fingerprint_is_of_the_values_alone_in_every_precision(coursenet):
    digest = hashlib.sha256()
    for parameter in coursenet.parameters():
        digest.update(parameter.numpy().tobytes())
    assert bytes(generator.fingerprint(coursenet).tolist()) == digest.digest()
    other = copy.deepcopy(coursenet).bfloat16()
    assert not torch.equal(generator.fingerprint(other), generator.fingerprint(coursenet))


def test_the_object_is_painted_where_it_stood(painted):
    """Yellow, which only the object is, lies on its mask: chance is the mask's share of the image, about 0.13."""
    scenes, _, images = painted
    yellow = (images[:, 0] + images[:, 1] - 2 * images[:, 2]).flatten(1).topk(200, dim=1).indices
    inside = scenes.masks.flatten(1).gather(1, yellow).float().mean(1)
    clear = scenes.factors["visible"] > 0.9
    assert inside[clear].mean() > 0.6


def test_painted_scenes_have_nearly_their_code_again(coursenet, painted):
    _, codes, images = painted
    again = Taps(coursenet, "relu6")(images)["relu6"]
    error = ((again - codes).norm(dim=1) / codes.norm(dim=1)).mean()
    other = ((codes.roll(1, 0) - codes).norm(dim=1) / codes.norm(dim=1)).mean()
    assert error < 0.7 * other


def test_another_network_sees_the_shape(painted):
    scenes, _, images = painted
    share = (models.load("coursenet", seed=1)(images).argmax(1) == scenes.labels).float().mean()
    assert share > 0.4  # chance is 0.1


def test_codes_of_scenes_lie_in_the_range_that_it_tells(coursenet, painted):
    made = generator.load(coursenet)
    _, codes, _ = painted
    assert (made.low == 0).all() and (made.typical < made.high).all()
    assert ((codes >= made.low) & (codes <= made.high)).float().mean() > 0.98


def test_the_file_is_the_one_in_the_list():
    digest = hashlib.sha256(generator.FILE.read_bytes()).hexdigest()
    assert f"{digest}  {generator.FILE.name}" in (models.SHIPPED / "SHA256SUMS").read_text().splitlines()
    assert generator.FILE.stat().st_size <= 8 * 2**20


@pytest.mark.parametrize("options", [{"seed": 1}, {"weights": "random"}])
def test_another_network_is_refused(options):
    with pytest.raises(ValueError, match="a generator for another network: models.load"):
        generator.load(models.load("coursenet", **options))


def test_bad_codes_and_files_are_refused(coursenet, tmp_path):
    with pytest.raises(ValueError, match=r"codes have shape \(n, 256\), got \(1, 255\)"):
        generator.load(coursenet)(torch.zeros(1, 255))
    with pytest.raises(ValueError, match="no generator file"):
        generator.load(coursenet, tmp_path / "none.safetensors")
    short = tmp_path / "short.safetensors"
    short.write_bytes(generator.FILE.read_bytes()[:1000])
    with pytest.raises(ValueError, match="truncated or no generator"):
        generator.load(coursenet, short)
    changed = bytearray(generator.FILE.read_bytes())
    changed[-1] ^= 1
    (tmp_path / generator.FILE.name).write_bytes(changed)
    (tmp_path / "SHA256SUMS").write_bytes((models.SHIPPED / "SHA256SUMS").read_bytes())
    with pytest.raises(ValueError, match="generator-0.safetensors is not the file that was shipped"):
        generator.load(coursenet, tmp_path / generator.FILE.name)


def test_pairs_are_codes_of_scenes_and_the_same_objects_in_one_dress(coursenet):
    codes, images = train_generator.draw_pairs(coursenet, 40)
    scenes = world.draw(40, seed=train_generator.FIRST_SEED)
    assert torch.allclose(codes, Taps(coursenet, "relu6")(scenes.images)["relu6"], atol=1e-4)
    names = models.load("coursenet", seed=1)(images.float() / 255).argmax(1)
    assert (names == scenes.labels).float().mean() > 0.9  # the shapes are still there
    outside = ~scenes.masks.any(0)[0]
    assert outside.any() and images.float()[..., outside].std(0).mean() < 10  # the background is one for all


@pytest.mark.slow
def test_training_brings_images_nearer_and_repeats_itself(coursenet):
    pairs = train_generator.draw_pairs(coursenet, 32)

    def difference(steps):
        made = train_generator.generator(coursenet, *pairs, steps=steps)
        with torch.no_grad():
            return made, float((made.train()(pairs[0]) - pairs[1] / 255).abs().mean())

    (one, early), (two, late) = difference(2), difference(24)
    assert late < early
    again, _ = difference(2)
    assert torch.equal(one.backdrop, again.backdrop)
    assert torch.equal(two.get_buffer("network"), generator.fingerprint(coursenet))
