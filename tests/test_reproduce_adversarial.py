import csv
import math

import pytest

from course_lib import models, world
from course_lib.reproduce import adversarial, features
from course_lib.reproduce.__main__ import main


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------- features


def test_what_is_learned_from_attacks_is_counted_scene_by_scene():
    arms = {arm: [1, 1, 1, 0] if arm == features.ARMS[0] else [1, 0, 0, 0] for arm in features.ARMS}
    done = [features.Run(0, arm, i, right, 1) for arm, all_of in arms.items() for i, right in enumerate(all_of)]
    first, together = features.summary(done)
    assert first["n"] == together["n"] == 4 and together["seed"] == "all"
    assert first[features.ARMS[0]].startswith("0.75 [") and first[features.ARMS[1]].startswith("0.25 [")
    assert first["difference"].startswith("0.50 [") and first["source"].startswith("1.00 [")


@pytest.mark.slow
def test_a_run_that_was_cut_off_is_made_anew_and_a_whole_one_is_kept(tmp_path):
    words = ["features", "--scenes", "128", "--passes", "1", "--fresh", "20", "--seeds", "1", "--out", str(tmp_path)]
    main(words)
    (first, together), stored = rows(tmp_path / "table.csv"), (tmp_path / "runs.csv").read_text()
    assert first["n"] == together["n"] == "20"
    main(words)
    assert (tmp_path / "runs.csv").read_text() == stored
    (tmp_path / "runs.csv").write_text("\n".join(stored.splitlines()[:-3]) + "\n")
    main(words)
    assert rows(tmp_path / "table.csv")[0] == first


def test_bad_numbers_of_features_are_refused(tmp_path, capsys):
    for name, value in (("--scenes", "10"), ("--passes", "0"), ("--fresh", "1"), ("--seeds", "0")):
        with pytest.raises(SystemExit):
            main(["features", name, value, "--out", str(tmp_path)])
        assert "must be at least" in capsys.readouterr().err


# ---------------------------------------------------------------- how often, and by how little


def test_a_level_holds_what_was_reached_within_it_and_lengths_are_compared_image_by_image():
    ladder, length, lbfgs = adversarial.METHODS
    done = [adversarial.Run(i, ladder, 1, level, 2.0, 1.0) for i, level in enumerate((1.0, 1.0, 2.0, 8.0))]
    done[3] = done[3]._replace(reached=0)
    done += [adversarial.Run(i, lbfgs, 1, 5.0, own, 1.0) for i, own in enumerate((1.0, 0.5))]
    done += [adversarial.Run(i, length, 1, 5.0, 1.0, 1.0) for i in range(2)]
    table = {row["method"]: row for row in adversarial.summary(done)}
    shares = [table[f"{ladder} {level}/255"]["reached"] for level in adversarial.LEVELS]
    assert [share[:4] for share in shares] == ["0.50", "0.75", "0.75", "0.75"]
    # lengths 2 and 2 beside 1 and 0.5: factors 2 and 4, whose geometric mean is the root of 8
    assert table[f"{ladder} 8/255"]["over L-BFGS"].startswith(f"{math.sqrt(8):.2f} ")
    assert table[length]["pairs"] == 2 and table[lbfgs]["n"] == 2


@pytest.fixture
def small(monkeypatch, coursenet):
    """CourseNet and drawn scenes in the place of the network of photographs."""
    scenes = world.draw(8, seed=77).images
    monkeypatch.setattr(models, "load", lambda name: coursenet)
    monkeypatch.setattr(adversarial, "_images", lambda net, folder, count: lambda i: scenes[i : i + 1])
    monkeypatch.setattr(adversarial, "STEPS", 4)


@pytest.mark.slow
def test_every_method_reaches_its_target_or_says_so_and_a_run_goes_on(tmp_path, small):
    words = ["adversarial", "--count", "3", "--sizes", "2", "--out", str(tmp_path)]
    main(words)
    with (tmp_path / "runs.csv").open() as file:
        found = [adversarial.Run(*row) for row in csv.reader(file.readlines()[2:])]
    ladder, *others = adversarial.METHODS
    expected = sorted([*((i, ladder) for i in range(3)), *((i, other) for other in others for i in range(2))])
    assert [(int(one.image), one.method) for one in found] == expected
    assert all(float(one.largest) <= 255 for one in found)
    assert sum(int(one.reached) for one in found) >= 5
    stored = (tmp_path / "runs.csv").read_text()
    main(words)
    assert (tmp_path / "runs.csv").read_text() == stored


@pytest.mark.slow
def test_the_slow_methods_can_be_left_out(tmp_path, small):
    main(["adversarial", "--count", "2", "--sizes", "0", "--out", str(tmp_path)])
    assert [row["method"] for row in rows(tmp_path / "table.csv")] == [
        f"{next(iter(adversarial.METHODS))} {level}/255" for level in adversarial.LEVELS
    ]


@pytest.mark.parametrize("words", [("--count", "1"), ("--count", "4", "--sizes", "5"), ("--sizes", "1")])
def test_bad_counts_are_refused(words, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["adversarial", *words, "--out", str(tmp_path)])
    assert "must be at least 2" in (said := capsys.readouterr().err) or "sizes is 0 or in" in said
