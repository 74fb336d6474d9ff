import pytest
import torch
from PIL import Image

from course_lib import data


def test_photographs_are_pictures_with_a_credit():
    for name in data.photographs():
        x = data.photograph(name, 64)
        assert x.shape == (1, 3, 64, 64) and x.dtype == torch.float32
        assert 0 <= x.min() and x.max() <= 1 and x.std() > 0.05
        assert "CC" in data.credit(name) or "public domain" in data.credit(name)


def test_the_middle_square_is_taken_and_colours_are_kept():
    x = data.photograph("chelsea", None)
    assert x.shape == (1, 3, 300, 451)
    middle = data.photograph("chelsea", 300)
    assert torch.equal(middle, x[..., 75:375])


def test_unknown_photographs_are_named_with_the_nearest():
    with pytest.raises(ValueError, match="no photograph 'chelsee'.*did you mean 'chelsea'"):
        data.photograph("chelsee")


def test_a_folder_is_listed_in_order_and_read(tmp_path):
    for name, colour in [("b.png", (255, 0, 0)), ("a.PNG", (0, 0, 255))]:
        Image.new("RGB", (20, 10), colour).save(tmp_path / name)
    Image.new("L", (8, 8), 51).save(tmp_path / "grey.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    files = data.folder(tmp_path)
    assert [file.name for file in files] == ["a.PNG", "b.png", "grey.png"]
    assert data.read(files[1], 4)[0, :, 0, 0].tolist() == [1, 0, 0]
    assert torch.allclose(data.read(files[2], None), torch.full((1, 3, 8, 8), 0.2))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no pictures in"):
        data.folder(tmp_path)
