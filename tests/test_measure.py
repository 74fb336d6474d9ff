import pytest
import torch
from sklearn.metrics import jaccard_score

from course_lib import measure


def test_pointing_game_by_hand():
    heat = torch.zeros(2, 1, 4, 4)
    heat[0, 0, 1, 2] = heat[1, 0, 3, 3] = 1
    masks = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    masks[:, 0, :2] = True
    assert measure.pointing_game(heat, masks).tolist() == [True, False]


def test_iou_equals_scikit_learn_on_the_hottest_pixels(generator):
    heat = torch.rand(5, 1, 20, 20, generator=generator)
    masks = torch.rand(5, 1, 20, 20, generator=generator) < torch.linspace(0.1, 0.9, 5)[:, None, None, None]
    for got, values, mask in zip(measure.iou(heat, masks), heat.flatten(1), masks.flatten(1), strict=True):
        hot = values >= values.sort(descending=True).values[int(mask.sum()) - 1]
        assert torch.isclose(got.double(), torch.tensor(jaccard_score(mask.numpy(), hot.numpy())).double())


def test_a_perfect_and_an_inverted_map(generator):
    masks = torch.rand(3, 1, 30, 30, generator=generator) < 0.3
    assert measure.iou(masks.float(), masks).tolist() == [1, 1, 1]
    assert measure.iou(-masks.float(), masks).max() == 0
    assert measure.pointing_game(masks.float(), masks).all()


def test_iou_of_a_random_map_is_the_stated_chance(generator):
    masks = torch.zeros(200, 1, 40, 40, dtype=torch.bool)
    masks[..., :8, :] = True  # p = 0.2
    scores = measure.iou(torch.rand(200, 1, 40, 40, generator=generator), masks)
    assert abs(float(scores.mean()) - 0.2 / 1.8) < 0.01


def test_intervals_cover_the_truth_about_19_times_in_20(generator):
    for draw in (
        lambda: torch.rand(100, generator=generator) < 0.3,
        lambda: 0.3 + torch.randn(100, generator=generator),
    ):
        intervals = [measure.interval(draw()) for _ in range(400)]
        covered = sum(i.low <= 0.3 <= i.high for i in intervals) / 400
        assert 0.92 < covered < 0.98


def test_bad_maps_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        measure.iou(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 5, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="empty"):
        measure.pointing_game(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="at least 2"):
        measure.interval(torch.tensor([1.0]))
