import csv
from math import isnan

import pytest
import torch
from PIL import Image

from course_lib import cutouts, data, measure, models, recipes, world
from course_lib.preimage import Interrupted, Preimage
from course_lib.reproduce import ascent, gallery, green, inversion, pointing, runs
from course_lib.reproduce.__main__ import main


@pytest.fixture
def quick(monkeypatch):
    """Inversions that end at once, with a faint copy of the image, and are counted."""
    calls = []

    def invert(features, x, *, smoothness, stages, seed):
        calls.append((smoothness, seed, sum(steps for _, steps in stages)))
        return Preimage(0.5 + 0.9 * (x - 0.5), {})

    monkeypatch.setattr(recipes, "invert", invert)
    return calls


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(folder, *arguments):
    main([*arguments, "--count", "3", "--size", "32", "--out", str(folder)])


def test_table_1_has_a_row_for_each_code_and_its_figures(tmp_path, quick):
    run(tmp_path, "table1")
    table = rows(tmp_path / "table.csv")
    assert [row["code"] for row in table] == ["HOG", "HOGb", "DSIFT"]
    assert [float(row["paper"]) for row in table] == [28.10, 10.67, 10.89]
    for row in table:
        assert row["n"] == "3"
        assert 0 < float(row["error"]) < 30
        assert float(row["variation"]) == pytest.approx(0.81, rel=1e-3)
        assert float(row["psnr"]) > 20
    for name in ("errors.png", "pictures-0.5.png"):
        with Image.open(tmp_path / name) as figure:
            assert min(figure.size) > 100


def test_errors_are_the_distances_of_the_runs_over_the_spread(tmp_path, quick):
    run(tmp_path, "table1")
    lines = [line for line in csv.reader((tmp_path / "runs.csv").read_text().splitlines()[2:]) if line[0] == "DSIFT"]
    codes = measure.flat(inversion.DESCRIPTORS["DSIFT"](runs.images(None, 3, 32)))
    expected = 100 * sum(float(line[3]) for line in lines) / 3 / torch.pdist(codes).mean()
    (row,) = [row for row in rows(tmp_path / "table.csv") if row["code"] == "DSIFT"]
    assert float(row["error"]) == pytest.approx(float(expected), rel=1e-5)


def test_table_3_walks_the_layers_and_the_weights(tmp_path, quick):
    run(tmp_path, "table3", "--layers", "conv1", "fc8", "--smoothness", "0.5", "50")
    assert [(row["code"], row["smoothness"]) for row in rows(tmp_path / "table.csv")] == [
        ("conv1", "0.5"), ("conv1", "50.0"), ("fc8", "0.5"), ("fc8", "50.0"),
    ]  # fmt: skip
    assert (tmp_path / "pictures-50.png").exists()


def test_effort_multiplies_the_steps(tmp_path, quick):
    run(tmp_path / "once", "table3", "--layers", "fc8", "--smoothness", "0.5")
    run(tmp_path / "thrice", "table3", "--layers", "fc8", "--smoothness", "0.5", "--effort", "3")
    steps = [call[2] for call in quick]
    assert len(steps) == 6 and steps[3:] == [3 * steps[0]] * 3


def test_a_run_that_was_stopped_goes_on(tmp_path, quick, monkeypatch, capsys):
    finish = recipes.invert

    def interrupted(features, x, **options):
        found = finish(features, x, **options)
        if len(quick) == 5:
            raise Interrupted(found)
        return found

    monkeypatch.setattr(recipes, "invert", interrupted)
    run(tmp_path, "table1")
    assert "goes on" in capsys.readouterr().out
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 2 + 4  # the fifth was cut short
    with (tmp_path / "runs.csv").open("a") as file:
        file.write("HOGb,0.5,1,0.3")  # a line that a crash cut short
    monkeypatch.setattr(recipes, "invert", finish)
    run(tmp_path, "table1")
    assert len(quick) == 5 + 5
    assert {row["n"] for row in rows(tmp_path / "table.csv")} == {"3"}


def test_photographs_of_a_folder_are_taken_in_the_order_of_their_names(tmp_path, quick):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, name in enumerate(("astronaut", "coffee", "rocket", "chelsea")):
        x = (data.photograph(name, 40)[0].permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(x).save(pictures / f"{i}.png")
    run(tmp_path / "out", "table1", "--folder", str(pictures))
    shown = data.read(tmp_path / "out" / "HOG-0.5-2.png", None)
    assert torch.allclose(shown, 0.5 + 0.9 * (data.photograph("rocket", 32) - 0.5), atol=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table1", "--folder", "nowhere"], "nowhere"),
        (["table1", "--count", "1"], "count must be at least 2"),
        (["table3", "--network", "alexnett"], "did you mean 'alexnet'"),
        (["table3", "--layers", "conv9"], "no layer 'conv9'"),
        (["table4"], "invalid choice: 'table4'"),
        (["table1", "--size", "8"], "size must be at least 16"),
        (["table1", "--effort", "0"], "effort must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, quick, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_the_results_of_another_run_are_not_mixed_in(tmp_path, quick, capsys):
    run(tmp_path, "table1")
    with pytest.raises(SystemExit):
        run(tmp_path, "table3")
    assert "holds table1, drawn scenes, 32 px, effort 1; choose another --out" in capsys.readouterr().err


# ---------------------------------------------------------------- how true maps are


def made(objects, rule, hits, areas=None):
    areas = areas or [float("nan")] * len(hits)
    return [
        pointing.Run(objects, i, rule, hit, 1 - hit, 0.5, area, area, 0.25)
        for i, (hit, area) in enumerate(zip(hits, areas, strict=True))
    ]


def test_a_rule_is_compared_with_the_centre_on_the_same_scenes():
    centre, other = made(2, pointing.CENTRE, [1, 0, 0, 0]), made(2, "saliency", [1, 1, 1, 0])
    first, second = pointing.summary([*centre, *other])
    assert (second["objects"], second["rule"], second["n"], second["covered"]) == (2, "saliency", 4, 0.25)
    assert second["hit"].startswith("0.75 [") and second["other"].startswith("0.25 [")
    assert second[f"hit over {pointing.CENTRE}"].startswith("0.50 [")
    assert first[f"hit over {pointing.CENTRE}"] == "0.00 [0.00, 0.00]"
    assert first[f"p of hit over {pointing.CENTRE}"] == 1
    assert second[f"hit over {pointing.EDGES}"] == ""  # not measured


def test_the_same_scenes_in_another_order_give_the_same_differences():
    centre, other = made(1, pointing.CENTRE, [1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4]), made(1, "guided", [0] * 4, [0.3] * 4)
    row = pointing.summary([*centre, *other])[1]
    assert pointing.summary([*centre, *reversed(other)])[1] == row
    assert row[f"deletion over {pointing.CENTRE}"].startswith("0.05 [")


def test_hits_have_wilsons_interval_and_areas_students():
    (row,) = pointing.summary(made(1, "saliency", [1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4]))
    assert row["hit"] == str(measure.interval([True] * 4)) and row["hit"].endswith("1.00]")
    assert row["deletion"] == row["insertion"] == str(measure.interval([0.1, 0.2, 0.3, 0.4]))


def test_what_was_not_measured_is_empty():
    rows = pointing.summary([*made(2, pointing.CENTRE, [1, 0]), *made(2, "guided", [1, 1])])
    assert {row["deletion"] for row in rows} == {row["p of deletion over " + pointing.CENTRE] for row in rows} == {""}


def test_one_object_and_two_are_not_mixed():
    rows = pointing.summary([*made(1, pointing.CENTRE, [1, 1]), *made(2, pointing.CENTRE, [0, 0])])
    assert [(row["objects"], row["hit"][:4]) for row in rows] == [(1, "1.00"), (2, "0.00")]


def test_the_random_map_is_of_the_image_and_not_of_the_run():
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    one, again, other = (pointing.WORLDS["drawn"].rules["random pixels"](None, x[i : i + 1], None) for i in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.skipif(not cutouts.available(), reason="needs the cut-outs")
def test_pointing_goes_on_where_it_stopped(tmp_path):
    words = ["pointing", "--rules", pointing.CENTRE, "edges of the image", "saliency", "--out", str(tmp_path)]
    main([*words, "--count", "2"])
    first = (tmp_path / "runs.csv").read_text().splitlines()
    main([*words, "--count", "3"])
    then = (tmp_path / "runs.csv").read_text().splitlines()
    assert len(first) == 2 + 12 and then[:14] == first and len(then) == 2 + 18
    table = rows(tmp_path / "table.csv")
    assert {row["objects"] for row in table} == {"1", "2"}
    assert all((row["deletion"] != "") == (row["objects"] == "1") for row in table)


def test_a_map_is_measured_as_the_measures_say():
    """The mask itself as a map: every hit is one, the overlap is whole, and the class goes with its object."""
    net, scene = models.load("coursenet"), world.draw(1, seed=2)
    truth = pointing._measured(net, scene, lambda net, x, label: scene.masks.float(), areas=True)
    assert truth[:3] == (1, 0, 1) and truth[5] == float(scene.masks.float().mean())
    away = pointing._measured(net, scene, lambda net, x, label: -scene.masks.float(), areas=True)
    assert away[:3] == (0, 0, 0) and truth[3] < away[3] and truth[4] > away[4]
    only = pointing._measured(net, scene, lambda net, x, label: scene.masks.float(), areas=False)
    assert only[:3] == truth[:3] and all(map(isnan, only[3:5]))


def test_the_other_object_is_told_from_the_object():
    net, scene = models.load("coursenet"), world.draw(1, seed=2)
    elsewhere = ~scene.masks
    scene.factors["second_mask"] = elsewhere
    found = pointing._measured(net, scene, lambda net, x, label: elsewhere.float(), areas=True)
    assert found[:2] == (0, 1) and all(map(isnan, found[3:5]))  # one class does not own the image: no areas


def test_the_drawn_world_needs_no_package(tmp_path):
    words = ["pointing", "--world", "drawn", "--rules", pointing.CENTRE, "guided", "--out", str(tmp_path)]
    main([*words, "--count", "2"])
    assert [(row["objects"], row["rule"], row["n"]) for row in rows(tmp_path / "table.csv")] == [
        ("1", pointing.CENTRE, "2"),
        ("1", "guided", "2"),
    ]
    with pytest.raises(SystemExit):  # another world is another folder
        main(["pointing", "--rules", pointing.CENTRE, "--count", "2", "--out", str(tmp_path)])


# ---------------------------------------------------------------- gradient ascent, each method at its best


def climbed(method, rate, steps, blurred, half=ascent.CHOSEN, draw=0, label=0):
    return ascent.Run(half, method, rate, steps, draw, label, 1, blurred, int(blurred > 0.5), 2.0)


def test_the_best_setting_is_chosen_on_one_half_and_reported_on_the_other():
    done = [climbed("L2", 0.01, 50, 0.2), climbed("L2", 0.05, 50, 0.8), climbed("L2", 0.05, 100, 0.8)]
    done += [climbed("L2", 0.02, 25, 1.0, ascent.REPORTED)]  # the other half must not choose
    assert ascent.best(done, "L2") == (0.05, 50)
    done += [climbed("L2", 0.05, 50, p, ascent.REPORTED, 1, k) for k, p in enumerate((0.9, 0.3, 0.7))]
    (row,) = ascent.table(done)
    assert (row["rate"], row["steps"], row["n"], row["seconds"]) == (0.05, 50, 3, 2.0)
    assert row["blurred"].startswith("0.67") and row["probability"].startswith("0.63")
    with pytest.raises(ValueError, match="no runs of 'blur'"):
        ascent.best(done, "blur")


def test_a_method_is_compared_with_nothing_on_the_same_initial_images():
    done = [climbed(name, 0.01, 25, 0.5) for name in ("nothing", "L2")]
    for k in range(4):
        done += [climbed("nothing", 0.01, 25, 0.1 * k, ascent.REPORTED, 1, k)]
        done += [climbed("L2", 0.01, 25, 0.1 * k + 0.25, ascent.REPORTED, 1, k)]
    done += [climbed("L2", 0.01, 25, 1.0, ascent.REPORTED, 2, 0)]  # has no partner
    nothing, other = ascent.table(done)
    assert nothing["over nothing"] == "" and other["over nothing"].startswith("0.25")
    assert (nothing["n"], other["n"]) == (4, 5)


def test_the_judge_sees_scenes_through_the_blur_and_no_fine_grain():
    scenes, judge = world.draw(60, seed=77), models.load("coursenet", seed=1)
    sharp, _ = ascent.probability(judge, scenes.images, scenes.labels, 0)
    logits = judge(scenes.images).softmax(1)
    assert torch.allclose(sharp, logits[torch.arange(60), scenes.labels])
    _, seen = ascent.probability(judge, scenes.images, scenes.labels)
    assert seen.float().mean() > 0.6
    checker = (torch.arange(96)[:, None] + torch.arange(96)) % 2 * 1.0
    flat = [
        ascent.probability(judge, x.expand(1, 3, 96, 96), torch.tensor([0]))[0] for x in (checker, checker * 0 + 0.5)
    ]
    assert torch.allclose(*flat, atol=0.02)


def test_a_sweep_that_was_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(ascent, "RATES", (0.01, 0.1))
    monkeypatch.setattr(ascent, "LENGTHS", (1, 2))
    words = ["ascent", "--draws", "1", "--out", str(tmp_path), "--methods"]
    main([*words, "nothing"])
    first = (tmp_path / "runs.csv").read_text()
    assert len(first.splitlines()) in (2 + 10 * (4 + 1), 2 + 10 * (4 + 2))  # two rates, two lengths; the best reported
    main([*words, "nothing", "phase"])
    whole = (tmp_path / "runs.csv").read_text()
    assert whole.startswith(first) and {line.split(",")[1] for line in whole.splitlines()[2:]} == {"nothing", "phase"}
    assert "phase,1.0," in whole  # ten times as fast
    assert [row["method"] for row in rows(tmp_path / "table.csv")] == ["nothing", "phase"]
    with Image.open(tmp_path / "curves.png") as figure:
        assert min(figure.size) > 100


# ---------------------------------------------------------------- the gallery


def painted(unknown, name, five, seed=0):
    return gallery.Run(unknown, name, seed, 0.5, 0, five, 1.0)


def test_unknowns_are_compared_on_the_same_classes():
    done = [painted("phase", name, 1) for name in "abcd"]
    done += [painted("Fourier", name, five) for name, five in zip("abcd", (1, 0, 0, 0), strict=True)]
    done += [painted("Fourier", "e", 1), painted("photographs", "a", 1, 7), painted("photographs", "b", 1, 8)]
    table = {row["unknown"]: row for row in gallery.table(done)}
    assert table["Fourier"]["five"].startswith("0.40") and table["Fourier"]["phase has more"].startswith("0.75")
    assert table["phase"]["phase has more"] == "" and table["photographs"]["n"] == 2
    (row,) = gallery.table([painted("phase", name, -1) for name in "ab"])  # nobody judged
    assert row["five"] == "" and row["n"] == 2


@pytest.mark.slow
def test_the_gallery_makes_a_sheet_of_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "SCENES", 2)
    words = ["gallery", "--parts", "classes", "--classes", "daisy", "zebra", "--unknowns", "phase", "--steps", "1"]
    main([*words, "--out", str(tmp_path)])
    with Image.open(tmp_path / "classes-phase.webp") as sheet:
        assert sheet.size == (2 * gallery.SIDE + 18, gallery.SIDE + 12)
    before = (tmp_path / "phase-zebra-0.png").stat().st_mtime_ns
    main([*words, "--out", str(tmp_path)])
    assert (tmp_path / "phase-zebra-0.png").stat().st_mtime_ns == before
    with pytest.raises(SystemExit):
        main([*words[:3], "--classes", "zebr", "--out", str(tmp_path)])


def test_the_units_of_both_networks_stand_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "load", lambda name: name)

    def grey(net, layer, channel, steps):
        depth = gallery.UNITS[net].index(layer)
        return torch.full((1, 3, 224, 224), (depth + 5 * (net == "vgg19_features") + 10 * (channel == 10)) / 20)

    monkeypatch.setattr(gallery, "_unit", grey)
    main(["gallery", "--parts", *gallery.UNITS, "--out", str(tmp_path)])
    with Image.open(tmp_path / "units.webp") as sheet:
        centres = [
            [sheet.getpixel((118 + 230 * column, 118 + 230 * row))[0] for column in range(4)] for row in range(5)
        ]
    wanted = [[row, row + 10, row + 5, row + 15] for row in range(5)]
    assert (torch.tensor(centres) / 255 - torch.tensor(wanted) / 20).abs().max() < 0.02


# ---------------------------------------------------------------- dreams


def test_a_dream_is_as_large_as_its_photograph(tmp_path, monkeypatch):
    asked = []

    def negative(net, x, layer, **options):
        asked.append((net.name, layer, options))
        return Preimage(1 - x, {})

    monkeypatch.setattr(recipes, "deepdream", negative)
    main(["dream", "--layer", "relu3_1", "--octaves", "2", "--out", str(tmp_path)])
    main(["dream", "--network", "efficientnet_lite0", "--layer", "block9", "--out", str(tmp_path)])
    assert asked == [
        ("vgg19_features", "relu3_1", {"octaves": 2, "steps": 15}),
        ("efficientnet_lite0", "block9", {"octaves": 6, "steps": 15}),
    ]
    with Image.open(tmp_path / "coffee-relu3_1.jpg") as image:
        assert image.size == (600, 400)
        mean = torch.tensor(image.resize((1, 1)).getpixel((0, 0))) / 255
    assert (mean - (1 - data.photograph("coffee", None).mean((0, 2, 3)))).abs().max() < 0.1


class TestGreen:
    """Photographs without green, inverted: what is counted, and that a run goes on."""

    @pytest.fixture
    def folder(self, tmp_path):
        colours = {"lawn": (20, 200, 30), "brick": (200, 40, 30), "stone": (90, 90, 90), "sea": (20, 60, 200)}
        (tmp_path / "photographs").mkdir()
        for name, colour in colours.items():
            Image.new("RGB", (40, 40), colour).save(tmp_path / "photographs" / f"{name}.png")
        return tmp_path / "photographs"

    def test_greenness_is_the_green_above_the_mean_of_red_and_blue(self):
        x = torch.tensor([[0.5, 0.5, 0.5], [0.2, 0.9, 0.4], [1.0, 0.0, 1.0]])[..., None, None].expand(3, 3, 8, 8)
        assert green.greenness(x).tolist() == pytest.approx([0.0, 0.6, -1.0])

    def test_the_greenest_photograph_is_left_out(self, folder):
        x = green.least_green(folder, 3, 16)
        assert x.shape == (3, 3, 16, 16)
        assert not any(torch.allclose(one[1], torch.tensor(200 / 255), atol=0.02) for one in x)

    def test_the_table_counts_what_the_inversions_add_and_a_second_run_makes_none(
        self, folder, tmp_path, monkeypatch, capsys
    ):
        calls = []

        def invert(features, x, **options):
            calls.append(features.layers)
            return Preimage(x + torch.tensor([0.0, 0.1, 0.0])[:, None, None], {})

        monkeypatch.setattr(recipes, "invert", invert)
        arguments = ["green-bias", "--folder", str(folder), "--count", "3", "--size", "32"]
        arguments += ["--networks", "efficientnet_lite0", "--out", str(tmp_path / "out")]
        main(arguments)
        main(arguments)
        assert calls == [("block3",), ("block11",)] * 2
        table = rows(tmp_path / "out" / "table.csv")
        assert [(row["weights"], row["layer"], row["n"]) for row in table] == [
            *(("pretrained", layer, "3") for layer in ("block3", "block11")),
            *(("random", layer, "3") for layer in ("block3", "block11")),
        ]
        for row in table:
            assert float(row["change"]) == pytest.approx(10, rel=1e-3)

    def test_one_photograph_has_no_spread(self, folder, tmp_path, capsys):
        with pytest.raises(SystemExit):
            main(["green-bias", "--folder", str(folder), "--count", "1", "--out", str(tmp_path / "out")])
        assert "count must be at least 2" in capsys.readouterr().err
