"""The photographed world: a table made by hand, cut-outs, and scenes whose truth is known."""

import math
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn
from torchvision.models import SqueezeNet1_0_Weights

from course_lib import cutouts, data
from project import needs, repository
from project.repository import ROOT

needs_stamps = pytest.mark.skipif(not needs.CUTOUTS.present(), reason=needs.CUTOUTS.lacking)
TABLE = cutouts.read_table()
KEPT = [row for row in TABLE if row["kept"] == "yes"]


@pytest.fixture(scope="module")
def found():
    return cutouts.collection()


@pytest.fixture(scope="module")
def scenes():
    return cutouts.compose(48, seed=5)


@pytest.fixture(scope="module")
def crowded():
    return cutouts.compose(40, seed=6, distractors=2, occluded=0.7)


# ---------------------------------------------------------------- the table


def test_the_table_has_enough():
    assert len(TABLE) == 439
    assert len(KEPT) >= 200
    assert sum(row["class"] != "" for row in KEPT) >= 60


def test_a_row_says_why_or_what():
    assert len({row["file"] for row in TABLE}) == len(TABLE)
    for row in TABLE:
        assert row["kept"] in ("yes", "no") and (row["why not"] == "") == (row["kept"] == "yes"), row
        described = [row[key] != "" for key in ("name", "zh", "group")]
        assert all(described) if row["kept"] == "yes" else not any(described) and not row["class"], row
        assert row["mirrors"] in ("", "no")
    assert max(Counter(row["name"] for row in KEPT).values()) == 1
    assert all(any("\u4e00" <= sign <= "\u9fff" for sign in row["zh"]) for row in KEPT)


def test_classes_are_those_of_torchvision():
    classes = SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"]
    for row in TABLE:
        assert row["class name"] == (classes[int(row["class"])] if row["class"] else ""), row


@needs_stamps
def test_the_table_has_every_image_of_the_package_but_cartoons_and_symbols(found):
    images = {path.relative_to(found.root).as_posix() for path in found.root.rglob("*.png")}
    wanted = {name for name in images if "cartoon" not in name.split("/") and not name.startswith("symbols/")}
    assert {row["file"] for row in TABLE} == wanted


# ---------------------------------------------------------------- the collection


@needs_stamps
def test_every_cut_out_opens_and_is_one(found):
    for i in range(len(found)):
        picture = found.picture(i)
        assert picture.shape[0] == 4 and 0 <= picture.min() and picture.max() <= 1
        opaque = picture[3] > 0.5
        rows, columns = (opaque.any(side).nonzero().flatten() for side in (1, 0))
        longest = 1 + max(int(line[-1] - line[0]) for line in (rows, columns))
        assert longest >= 85, found.names[i]
        assert 0.02 < opaque.float().mean() < 0.999, found.names[i]


@needs_stamps
def test_a_picture_is_what_the_file_holds(found):
    i = found.names.index("tiger")
    with Image.open(found.root / found.files[i]) as image:
        pixels = np.asarray(image.convert("RGBA"))
    assert np.array_equal((found.picture(i) * 255).round().byte().permute(1, 2, 0).numpy(), pixels)


@needs_stamps
def test_groups_hold_their_groups(found):
    birds, animals = found.within("animals/birds"), found.within("animals")
    assert {found.groups[i] for i in birds} == {"animals/birds"} and set(birds) < set(animals)
    assert found.within("animals/mammals/cats") == tuple(
        i for i, group in enumerate(found.groups) if group == "animals/mammals/cats"
    )
    assert len(found) == len(found.names) == len(found.groups) == len(found.classes)
    assert found.all_groups == tuple(sorted(set(found.groups)))
    assert [found.classes[i] is not None for i in range(len(found))] == [i in found.labelled for i in range(len(found))]


@needs_stamps
def test_names_in_other_languages(found):
    i = found.names.index("bear")
    assert found.names_in("zh")[i] == "熊"  # the package says 梨, a pear
    assert found.names_in("zh_CN")[i] == "梨"
    assert found.names_in("de")[found.names.index("green frog")] == "Ein Frosch"
    assert all(found.names_in("zh")) and len(found.names_in("fr")) == len(found)
    with pytest.raises(ValueError, match=r"no language of names 'xx'.*; choose from"):
        found.names_in("xx")


@needs_stamps
def test_images_on_a_plain_ground(found):
    images = found.images([3, 8], 64, ground=1.0)
    assert images.shape == (2, 3, 64, 64) and torch.equal(images[:, :, 0, 0], torch.ones(2, 3))
    assert not torch.equal(images[0], images[1])
    assert torch.equal(found.images([8], 64, ground=1.0)[0], images[1])
    assert found.images(size=32).shape == (len(found), 3, 32, 32)
    covered = (images != 1).any(1).flatten(1).float().mean(1)
    assert covered.min() > 0.05


def test_grounds_know_theirs():
    for name in ("coffee", "china", "flower"):
        author, licence = data.credit(name).split(", ")[1:3]
        assert author in cutouts.GROUNDS_CREDIT and licence in cutouts.GROUNDS_CREDIT


@needs_stamps
def test_figures_know_their_licence():
    assert "GPL 2" in cutouts.CREDIT and "Tux Paint" in cutouts.CREDIT
    assert cutouts.PACKAGE in (ROOT / "LICENSE-TEXT").read_text()
    papers = Path("/usr/share/doc") / cutouts.PACKAGE / "copyright"
    if papers.exists():  # where dpkg installed it
        assert "License: GPL-2" in papers.read_text() and "Bill Kendrick" in papers.read_text()


# ---------------------------------------------------------------- scenes


@pytest.mark.slow
@needs_stamps
def test_a_scene_is_what_it_says(scenes, found):
    assert scenes.images.shape == (48, 3, 224, 224) and scenes.images.dtype == torch.float32
    assert torch.equal((scenes.images * 255).round() / 255, scenes.images)
    assert scenes.masks.shape == (48, 1, 224, 224) and scenes.masks.dtype == torch.bool
    factors = scenes.factors
    assert {values.shape for values in factors.values()} == {(48,)}
    for i in range(48):
        index = int(factors["object"][i])
        assert scenes.labels[i] == found.classes[index]
        assert found.all_groups[factors["group"][i]] == found.groups[index]
        assert found.mirrors[index] or not factors["mirrored"][i]
        rows, columns = (scenes.masks[i, 0].any(side).nonzero().flatten() for side in (1, 0))
        middle = [float(line[0] + line[-1] + 1) / 224 - 1 for line in (columns, rows)]
        assert torch.allclose(torch.tensor(middle), torch.stack([factors["x"][i], factors["y"][i]]), atol=0.15), (
            found.names[index]
        )
        assert abs(float(scenes.masks[i].float().mean()) - factors["size"][i]) < 1e-6
    assert torch.equal(factors["visible"], torch.ones(48))
    assert set(factors["ground"].tolist()) == set(range(len(cutouts.GROUNDS)))
    assert 0.1 < factors["size"].median() < 0.3 and factors["size"].max() < 0.4
    assert factors["angle"].abs().max() < math.radians(8)


def by_pillow(found, factors, i, size):
    """Where the object is, by Pillow's own alpha channel: mirrored, scaled, turned, and pasted."""
    with Image.open(found.root / found.files[int(factors["object"][i])]) as image:
        alpha = image.convert("RGBA").getchannel("A")
    alpha = alpha.crop(alpha.point(lambda value: 255 * (value > 31)).getbbox())
    alpha = ImageOps.mirror(alpha) if factors["mirrored"][i] else alpha
    alpha = alpha.resize([round(side * float(factors["scale"][i])) for side in alpha.size], Image.Resampling.BICUBIC)
    alpha = alpha.rotate(math.degrees(factors["angle"][i]), Image.Resampling.BICUBIC, expand=True)
    left, top, right, bottom = alpha.point(lambda value: 255 * (value > 31)).getbbox()
    page = Image.new("L", (size, size))
    x, y = ((float(factors[name][i]) + 1) / 2 * size for name in "xy")
    page.paste(alpha.crop((left, top, right, bottom)), (round(x - (right - left) / 2), round(y - (bottom - top) / 2)))
    return torch.from_numpy(np.asarray(page) > 127)


def grown(mask, by):
    return nn.functional.max_pool2d(mask[None, None].float(), 2 * by + 1, 1, by)[0, 0] > 0


@needs_stamps
def test_a_mask_is_the_alpha_channel(scenes, found):
    """Within a pixel."""
    for i in range(len(scenes)):
        ours, theirs = scenes.masks[i, 0], by_pillow(found, scenes.factors, i, 224)
        name = found.names[int(scenes.factors["object"][i])]
        assert not (ours & ~grown(theirs, 1)).any(), name
        solid = ~grown(~theirs, 1)
        assert not (solid & ~ours).any(), name
        assert solid.any() and ours.sum() / theirs.sum() > 0.85, name


@needs_stamps
def test_outside_the_mask_is_the_ground_and_inside_the_object(found):
    """The same scene of two objects differs inside their masks and their shadows, and the mask's colours are the
    object's."""
    tiger, cello = (found.names.index(name) for name in ("tiger", "cello"))
    a, b = (cutouts.compose(4, seed=3, among=[i]) for i in (tiger, cello))
    assert torch.equal(a.factors["ground"], b.factors["ground"])
    far = torch.ones(224, dtype=torch.bool)
    far[20:] = False  # the sky over both
    for i in range(4):
        free = ~(grown(a.masks[i, 0], 3) | grown(b.masks[i, 0], 3)) & far[:, None]
        assert torch.equal(a.images[i][:, free], b.images[i][:, free])
    striped = a.images[0][:, a.masks[0, 0]]
    assert striped.std(1).min() > 0.1  # black and orange
    assert striped[0].mean() > striped[2].mean() + 0.1


@needs_stamps
def test_a_seed_gives_its_scenes():
    once, again, longer, other = (
        cutouts.compose(n, seed=seed, size=64) for n, seed in ((3, 4), (3, 4), (8, 4), (3, 5))
    )
    for pair in (again, longer[:3]):
        assert torch.equal(once.images, pair.images) and torch.equal(once.masks, pair.masks)
        assert all(torch.equal(once.factors[name], pair.factors[name]) for name in once.factors)
    assert not torch.equal(once.images, other.images)


@needs_stamps
def test_a_scene_is_the_same_at_another_size():
    small, large = (cutouts.compose(12, seed=4, size=size) for size in (112, 224))
    for name in ("object", "ground", "mirrored", "light", "angle"):
        assert torch.equal(small.factors[name], large.factors[name])
    for name in ("x", "y", "size"):
        assert torch.allclose(small.factors[name], large.factors[name], atol=0.02)


@pytest.mark.slow
@needs_stamps
def test_what_stands_in_front_hides(crowded):
    visible = crowded.factors["visible"]
    assert 0.3 < (visible < 1).float().mean() <= 0.9 and visible.min() > 0.3
    shares = crowded.masks.flatten(1).float().mean(1) / crowded.factors["size"]
    assert torch.allclose(shares, visible, atol=1e-5)


@needs_stamps
def test_distractors_and_what_stands_in_front_are_added_to_the_same_scenes():
    plain, full, hidden = (cutouts.compose(10, seed=8, size=96, **o) for o in ({}, {"distractors": 3}, {"occluded": 1}))
    assert torch.equal(plain.masks, full.masks) and torch.equal(plain.factors["object"], full.factors["object"])
    for more in (full, hidden):
        changed = (plain.images - more.images).abs().amax(1, keepdim=True) > 0.1
        assert (changed.flatten(1).float().mean(1) > 0.005).all()
    changed = (plain.images - full.images).abs().amax(1, keepdim=True) > 0.1
    assert (changed & ~plain.masks).sum() > 0.9 * changed.sum()  # they stand behind
    assert (plain.masks | hidden.masks == plain.masks).all() and (hidden.factors["visible"] < 1).float().mean() > 0.8


@needs_stamps
def test_a_second_object_of_another_class(found):
    pairs = cutouts.compose(24, seed=2, size=128, second=True)
    second, label, masks = (pairs.factors[f"second_{name}"] for name in ("object", "label", "mask"))
    assert (label != pairs.labels).all() and label.tolist() == [found.classes[i] for i in second.tolist()]
    assert masks.shape == pairs.masks.shape and not (masks & pairs.masks).any()
    assert (masks.flatten(1).float().mean(1) > 0.004).all()
    assert pairs[3].factors["second_mask"].shape == (1, 1, 128, 128)
    with pytest.raises(ValueError, match="of another class"):
        cutouts.compose(1, among=[found.names.index("tiger")], second=True)


@needs_stamps
def test_objects_without_a_class_have_the_label_minus_one(found):
    scenes = cutouts.compose(20, seed=1, size=48, among="animals/birds")
    assert {found.groups[i] for i in scenes.factors["object"].tolist()} == {"animals/birds"}
    labels = [-1 if found.classes[i] is None else found.classes[i] for i in scenes.factors["object"].tolist()]
    assert scenes.labels.tolist() == labels and -1 in labels
    only = cutouts.compose(5, size=48, among=torch.tensor([7, 9]))
    assert set(only.factors["object"].tolist()) <= {7, 9}


@needs_stamps
@pytest.mark.parametrize(("size", "ground"), [(32, 0), (300, 3), (480, 5)])
def test_other_sizes(size, ground):
    scenes = cutouts.compose(2, seed=ground, size=size)
    assert scenes.images.shape == (2, 3, size, size) and scenes.masks.flatten(1).any(1).all()


@needs_stamps
def test_scenes_are_composed_fast():
    """At least 500 a minute were promised on two cores; a busy machine gets a quarter of that."""
    cutouts.compose(10)
    start = time.perf_counter()
    cutouts.compose(40, seed=1)
    assert 40 / (time.perf_counter() - start) > 500 / 60 / 4


# ---------------------------------------------------------------- what a network recognises


class Names(nn.Module):
    """Sees tigers everywhere."""

    image_size = 64

    def __init__(self, classes=1000):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes))
        self.weight.data[292 % classes] = 1
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        assert not self.training and x.shape[2] == 64
        return x.mean((1, 2, 3))[:, None] * 0 + self.weight


@needs_stamps
def test_recognised_are_the_cut_outs_that_a_network_names_rightly(found):
    net = Names().train()
    assert [found.names[i] for i in cutouts.recognised(net)] == ["tiger"]
    assert net.training
    with pytest.raises(ValueError, match="1000 classes, this network 10"):
        cutouts.recognised(Names(10))


# ---------------------------------------------------------------- bad input


@needs_stamps
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be at least 1, got 0"),
        ({"n": 2.5}, TypeError, "n is a whole number"),
        ({"size": 31}, ValueError, "size must be at least 32, got 31"),
        (
            {"among": "animals/brids"},
            ValueError,
            r"no group of cut-outs 'animals/brids' \(did you mean 'animals/birds'",
        ),
        ({"among": "animal"}, ValueError, r"did you mean 'animals'"),
        ({"among": [0, 999]}, ValueError, "no cut-out with number 999: they go from 0 to 269"),
        ({"among": []}, ValueError, "index of a cut-out"),
        ({"among": ["tiger"]}, TypeError, "whole number"),
        ({"occluded": 1.5}, ValueError, r"occluded is in \[0, 1\], got 1.5"),
        ({"distractors": -1}, ValueError, "distractors must be at least 0"),
        ({"seed": "a"}, TypeError, "seed"),
    ],
    ids=str,
)
def test_bad_input_is_named(options, error, message):
    with pytest.raises(error, match=message):
        cutouts.compose(**{"n": 1} | options)


@needs_stamps
def test_bad_indices_and_sizes_of_the_collection(found):
    with pytest.raises(ValueError, match="no cut-out with number 270"):
        found.picture(270)
    with pytest.raises(ValueError, match="index of a cut-out must be at least 0"):
        found.picture(-1)
    with pytest.raises(ValueError, match="size must be at least 32"):
        found.images([0], 8)
    with pytest.raises(ValueError, match=r"ground is in \[0, 1\]"):
        found.images([0], ground=200)


def test_without_the_package_one_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("TUXPAINT_STAMPS", str(tmp_path / "nowhere"))
    assert not cutouts.available()
    for call in (cutouts.collection, lambda: cutouts.compose(1)):
        with pytest.raises(FileNotFoundError, match="apt-get install tuxpaint-stamps-default.*TUXPAINT_STAMPS"):
            call()


def fake(folder):
    """A folder of stamps in which each is a disc: enough to compose with."""
    for row in KEPT:
        file = folder / row["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        square = np.zeros((90, 90, 4), dtype=np.uint8)
        y, x = np.mgrid[:90, :90] - 45
        square[x**2 + y**2 < 40**2] = (200, 30, 30, 255)
        if not (folder / "disc.png").exists():
            Image.fromarray(square).save(folder / "disc.png")
        shutil.copy(folder / "disc.png", file)
    return folder


@pytest.fixture
def stamps(tmp_path, monkeypatch):
    monkeypatch.setenv("TUXPAINT_STAMPS", str(tmp_path))
    return fake(tmp_path)


def test_another_folder_will_do(stamps):
    """The scenes of discs: their masks are discs, wherever the package is."""
    assert cutouts.available() and cutouts.collection().root == stamps
    scenes = cutouts.compose(6, seed=1, size=96)
    for mask, size in zip(scenes.masks[:, 0], scenes.factors["size"], strict=True):
        rows, columns = (mask.any(side).nonzero().flatten() for side in (1, 0))
        tall, wide = (int(line[-1] - line[0]) + 1 for line in (rows, columns))
        assert abs(tall - wide) <= 2 and abs(mask.sum() / (math.pi / 4 * tall * wide) - 1) < 0.06
        assert abs(math.pi / 4 * tall * wide / 96**2 - size) < 0.02
    assert cutouts.collection().names_in("zh")[0]
    with pytest.raises(ValueError, match="no language of names 'de'"):
        cutouts.collection().names_in("de")  # no texts beside these


def test_a_folder_copied_by_half_names_what_is_missing(stamps):
    gone = [stamps / row["file"] for row in KEPT[:3]]
    for file in gone:
        file.unlink()
    assert cutouts.available()
    with pytest.raises(FileNotFoundError, match=f"3 of {len(KEPT)} cut-outs are missing.*frog-1.png, .*frog.png"):
        cutouts.collection()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nno more"], ids=["empty", "cut short"])
def test_an_unreadable_stamp_is_named(stamps, content):
    file = stamps / KEPT[5]["file"]
    file.write_bytes(content)
    for call in (
        lambda: cutouts.collection().picture(5),
        lambda: cutouts.collection().images([5]),
        lambda: cutouts.compose(1, among=[5]),
    ):
        with pytest.raises(ValueError, match=f"the cut-out .*{file.name} cannot be read"):
            call()


def test_a_stamp_without_anything_on_it_is_named(stamps):
    file = stamps / KEPT[5]["file"]
    Image.new("RGBA", (90, 90)).save(file)
    with pytest.raises(ValueError, match=f"the cut-out .*{file.name} .*transparent"):
        cutouts.compose(1, among=[5])


def test_cells_and_examples_are_skipped_and_counted_without_the_package(tmp_path):
    tagged = nbformat.v4.new_code_cell("from course_lib import cutouts\ncutouts.collection()")
    tagged.metadata["tags"] = ["cutouts"]
    book = tmp_path / "book.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[tagged, nbformat.v4.new_code_cell("1 + 1")], metadata=kernel), book)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "--nbval-lax", book, ROOT / "course_lib" / "cutouts"],
        cwd=ROOT,
        env=os.environ | {"TUXPAINT_STAMPS": str(tmp_path / "nowhere")},
        capture_output=True,
        text=True,
    )
    examples = 4
    assert f"{1 + examples} skipped that need `cutouts`: the photographed cut-outs" in run.stdout, run.stdout
    assert f"1 passed, {1 + examples} skipped" in run.stdout, run.stdout


def test_the_package_has_one_name():
    assert repository.STAMPS == cutouts.PACKAGE


# --- materials ------------------------------------------------------------------------------------------------

WITHOUT_STAMPS = ("brick", "gravel", "grass", "galaxies", "tissue")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in WITHOUT_STAMPS else needs_stamps) for n in cutouts.MATERIALS]
)
def test_a_material_is_two_pieces_of_one_photograph(name):
    pieces = cutouts.material(name, 96)
    assert pieces.shape == (2, 3, 96, 96) and pieces.dtype == torch.float32
    assert 0 <= float(pieces.min()) and float(pieces.max()) <= 1
    assert not torch.equal(pieces[0], pieces[1])
    means = pieces.mean((2, 3))
    assert float((means[0] - means[1]).abs().max()) < 0.15  # one photograph, one light
    assert float((pieces.amax(1) - pieces.amin(1)).max()) > 0.1  # in colour


def test_the_pieces_of_a_material_do_not_overlap():
    from course_lib.cutouts.materials import _PIECES

    for name, (_, (a, b)) in _PIECES.items():
        across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        assert min(across, down) <= 0, name
        assert a[2] - a[0] == a[3] - a[1] == b[2] - b[0] == b[3] - b[1], name


def test_a_material_that_is_not_there_is_named(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'brick'"):
        cutouts.material("bricks")
    with pytest.raises(ValueError, match="size"):
        cutouts.material("brick", 0)
    monkeypatch.setenv("TUXPAINT_STAMPS", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="apt-get install"):
        cutouts.material("leaves")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("TUXPAINT_STAMPS", str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="holm_oak.png"):
        cutouts.material("leaves")
