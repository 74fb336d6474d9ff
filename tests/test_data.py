import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from course_lib import data


def test_photographs_are_images_with_a_credit():
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
    (tmp_path / "notes.txt").write_text("not an image")
    files = data.folder(tmp_path)
    assert [file.name for file in files] == ["a.PNG", "b.png", "grey.png"]
    assert data.read(files[1], 4)[0, :, 0, 0].tolist() == [1, 0, 0]
    assert torch.allclose(data.read(files[2], None), torch.full((1, 3, 8, 8), 0.2))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no images in"):
        data.folder(tmp_path)


def test_a_folder_holds_gif_and_jfif_and_no_hidden_files_or_folders(tmp_path):
    image = Image.new("RGB", (8, 8), (0, 255, 0))
    for name in ("a.gif", "b.jfif", "c.JFIF"):
        image.save(tmp_path / name, format="gif" if name.endswith("gif") else "jpeg")
    for name in ("._a.png", ".hidden.jpg"):  # the first is what macOS writes beside a.png
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "album.png").mkdir()
    assert [file.name for file in data.folder(tmp_path)] == ["a.gif", "b.jfif", "c.JFIF"]
    ((_, x),) = data.batches(tmp_path, 4)
    assert (x - torch.tensor([0.0, 1.0, 0.0])[:, None, None]).abs().max() < 0.02


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        data.folder(tmp_path / "nowhere")
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(NotADirectoryError, match="a.png is a file, not a folder; for a few files, give a list"):
        next(data.batches(path))


# ---------------------------------------------------------------- files of every kind


def saved(image, path, **options):
    image.save(path, **options)
    return path


def test_grey_becomes_three_equal_channels(tmp_path):
    for mode, value, level in [("L", 51, 0.2), ("1", 1, 1.0)]:
        x = data.read(saved(Image.new(mode, (5, 4), value), tmp_path / f"{mode}.png"), None)
        assert torch.allclose(x, torch.full((1, 3, 4, 5), level))


def la(array):
    grey, alpha = (Image.fromarray(np.ascontiguousarray(array[..., i])) for i in range(2))
    return Image.merge("LA", (grey, alpha))


def test_transparent_pixels_show_white(tmp_path):
    colours = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    x = data.read(saved(Image.fromarray(colours), tmp_path / "rgba.png"), None)
    assert torch.allclose(x[0, :, 0], torch.tensor([[1, 1, 0.8], [0, 1, 0.8], [0, 1, 0.8]]), atol=1 / 255)
    grey = np.array([[[0, 255], [0, 0]]], dtype=np.uint8)
    x = data.read(saved(la(grey), tmp_path / "la.png"), None)
    assert x[0, :, 0].T.tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])], ids=["index", "bytes"])
def test_a_palette_with_transparency(tmp_path, transparency):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for i in range(3):
        image.putpixel((i, 0), i)
    path = saved(image, tmp_path / "palette.png", transparency=transparency)
    x = data.read(path, None)
    assert x[0, :, 0].T.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 1]]
    assert data.read(saved(image, tmp_path / "plain.png"), None)[0, :, 0, 1].tolist() == [0, 1, 0]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_range(tmp_path, suffix):
    levels = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    path = saved(Image.fromarray(levels), tmp_path / f"deep.{suffix}")
    with Image.open(path) as stored:
        assert stored.mode.startswith("I")
    x = data.read(path, None)
    assert torch.allclose(x, torch.tensor([0, 1 / 255, 0.5, 1]).expand(1, 3, 1, 4), atol=1 / 255)
    assert x[0, 0, 0, 0] == 0 and x[0, 0, 0, 3] == 1


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0, 51, 255], [0, 51, 255]),  # all within 8 bits
        ([0, 257, 65535], [0, 1, 255]),  # within 16
        ([0, 256, 300], [0, 0, 1]),
    ],
)
def test_grey_of_32_bits_is_read_by_the_range_of_its_values(tmp_path, values, levels):
    path = saved(Image.fromarray(np.array([values], dtype=np.int32)), tmp_path / "deep.tif")
    with Image.open(path) as stored:
        assert stored.mode == "I"
    assert (data.read(path, None)[0, :, 0] * 255).round().tolist() == [levels] * 3


@pytest.mark.parametrize("values", [[-1, 0, 255], [0, 5, 65536]])
def test_grey_of_32_bits_without_a_known_white_is_refused(tmp_path, values):
    path = saved(Image.fromarray(np.array([values], dtype=np.int32)), tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=f"deep.tif cannot be read.*go from {min(values)} to {max(values)}; known are"):
        data.read(path)


def test_dark_files_of_16_bits_stay_dark(tmp_path):
    path = saved(Image.fromarray(np.full((4, 4), 200, dtype=np.uint16)), tmp_path / "dark.png")
    assert data.read(path).max() == 0


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    path = saved(first, tmp_path / "moving.gif", save_all=True, append_images=[second])
    assert data.read(path, None)[0, :, 0, 0].tolist() == [1, 0, 0]


# What the camera noted -> how to turn the upright image so as to store it
ORIENTATIONS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_photographs_come_upright(tmp_path, orientation):
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :16] = (255, 0, 0)  # upper left
    upright[8:, 16:] = (0, 0, 255)  # lower right
    turned = Image.fromarray(upright)
    if ORIENTATIONS[orientation] is not None:
        turned = turned.transpose(ORIENTATIONS[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    x = data.read(saved(turned, tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0), None)
    assert x.shape == (1, 3, 16, 32)
    assert (x - torch.from_numpy(upright / 255).permute(2, 0, 1)).abs().mean() < 0.02


def test_other_colour_spaces_become_rgb(tmp_path):
    x = data.read(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "a.jpg", quality=95), None)
    assert x[0, 0].min() > 0.9 and x[0, 1:].max() < 0.1


def test_an_image_of_one_pixel(tmp_path):
    path = saved(Image.new("RGB", (1, 1), (255, 0, 51)), tmp_path / "dot.png")
    assert torch.allclose(data.read(path, None).flatten(), torch.tensor([1, 0, 0.2]))
    x = data.read(path, 8)
    assert torch.allclose(x, torch.tensor([1, 0, 0.2])[:, None, None].expand(1, 3, 8, 8))


def test_reading_equals_pillow(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8)
    path = saved(Image.fromarray(array), tmp_path / "a.png")
    x = data.read(path, None)
    assert x.dtype == torch.float32 and np.array_equal((x[0] * 255).round().permute(1, 2, 0).numpy(), array)
    middle = Image.fromarray(array[:, 7:37]).resize((10, 10), Image.Resampling.LANCZOS)
    apart = (data.read(path, 10)[0] - torch.from_numpy(np.asarray(middle) / 255).permute(2, 0, 1)).abs()
    assert apart[..., 3:-3].max() <= 1.01 / 255  # at the cut, the filter sees what is beyond it
    with path.open("rb") as file:
        assert torch.equal(data.read(file, None), x)


def test_floating_point_pixels_are_refused(tmp_path):
    path = saved(Image.fromarray(np.ones((4, 4), dtype=np.float32)), tmp_path / "float.tif")
    with pytest.raises(ValueError, match="float.tif cannot be read as an image: floating point pixels"):
        data.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.png"):
        data.read(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        data.read(tmp_path)
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ValueError, match="empty.png cannot be read as an image"):
        data.read(tmp_path / "empty.png")
    path = saved(Image.new("RGB", (4, 4)), tmp_path / "a.png")
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        data.read(path, 0)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's own remarks on some of the damages
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "bmp", "tif"])
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, kind):
    array = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    path = saved(Image.fromarray(array), tmp_path / f"damaged.{kind}", **({} if kind == "bmp" else {"exif": exif}))
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    variants = [whole[: int(cut)] for cut in np.linspace(0, len(whole) - 1, 25)]
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[random.integers(min(len(whole), 150))] = random.integers(256)
        variants.append(bytes(damaged))
    refused = 0
    for variant in variants:
        path.write_bytes(variant)
        try:
            assert data.read(path, 8).shape == (1, 3, 8, 8)
        except ValueError as error:
            assert f"damaged.{kind} cannot be read as an image" in str(error)
            refused += 1
    assert refused >= 20


def test_a_damaged_note_of_the_camera_is_no_other_error(tmp_path):
    """One byte off: the maker's name becomes a width that is a text."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    path = saved(Image.new("RGB", (8, 4)), tmp_path / "noted.jpg", exif=exif)
    whole = path.read_bytes()
    assert whole.count(b"\x01\x0f\x00\x02") == 1
    path.write_bytes(whole.replace(b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02"))
    try:
        assert data.read(path, None).shape == (1, 3, 8, 4)
    except ValueError as error:
        assert "noted.jpg cannot be read as an image" in str(error)


@pytest.mark.parametrize(("size", "got"), [(2.5, "2.5"), ("8", "'8'"), (True, "True"), ([8, 8], "\\[8, 8\\]")])
def test_a_size_is_one_whole_number(tmp_path, size, got):
    path = saved(Image.new("RGB", (4, 4)), tmp_path / "a.png")
    for call in (
        lambda: data.read(path, size),
        lambda: data.photograph("chelsea", size),
        lambda: data.pick([path], [0], size),
        lambda: next(data.batches([path], size)),
    ):
        with pytest.raises(TypeError, match=f"size is a whole number.*got {got}"):
            call()
    assert torch.equal(data.read(path, np.int64(8)), data.read(path, 8))


# ---------------------------------------------------------------- any number of images


class Shelf(Dataset):
    """Images with labels, which remembers the threads that read it."""

    def __init__(self, n):
        self.n, self.threads = n, set()

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.threads.add(threading.get_ident())
        return torch.full((3, 4, 4), i / 100), "label"


@pytest.fixture
def fifty(tmp_path):
    """Fifty files, each of its own grey, of which number 17 is cut short and number 31 is broken."""
    files = []
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for i in range(50):
        suffix = "jpg" if i == 17 else "png"
        image = Image.fromarray(noise) if i in (17, 31) else Image.new("RGB", (6, 6), (i, i, i))
        files.append(saved(image, tmp_path / f"{i:02}.{suffix}"))
    files[17].write_bytes(files[17].read_bytes()[:-200])
    damaged = bytearray(files[31].read_bytes())
    damaged[60:80] = bytes(20)
    files[31].write_bytes(bytes(damaged))
    return files


@pytest.mark.parametrize("batch", [1, 8, 50, 64])
def test_a_walk_gives_the_indices_and_the_images(batch):
    for collection in (Shelf(50), torch.arange(50).view(50, 1, 1, 1).expand(50, 3, 4, 4) / 100):
        walked = list(data.batches(collection, batch=batch, progress=False))
        assert [i for numbers, _ in walked for i in numbers] == list(range(50))
        assert all(len(numbers) == len(x) for numbers, x in walked)
        assert [len(numbers) for numbers, _ in walked[:-1]] == [batch] * (len(walked) - 1)
        x = torch.cat([x for _, x in walked])
        assert x.shape == (50, 3, 4, 4) and torch.allclose(x[:, 0, 0, 0], torch.arange(50) / 100)


def test_a_walk_may_start_in_the_middle(tmp_path):
    for i in range(9):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    for collection in (tmp_path, Shelf(9), torch.zeros(9, 3, 4, 4)):
        walked = [numbers for numbers, _ in data.batches(collection, 4, 4, start=3, progress=False)]
        assert walked == [[3, 4, 5, 6], [7, 8]]
        assert list(data.batches(collection, 4, 4, start=9, progress=False)) == []
    ((_, x),) = data.batches(tmp_path, 4, 4, start=7, progress=False)
    assert (x[:, 0, 0, 0] * 255).round().tolist() == [7, 8]


def test_a_walk_ends_at_a_broken_file_and_names_it(fifty, tmp_path):
    walk, seen = data.batches(tmp_path, 6, 4, progress=False), []
    with pytest.raises(ValueError, match="17.jpg cannot be read as an image"):
        for numbers, _ in walk:
            seen += numbers
    assert seen == list(range(16))
    with pytest.raises(ValueError, match="31.png cannot be read as an image"):
        list(data.batches(fifty[18:], 6, 4, progress=False))


def test_broken_files_are_left_out_on_request_with_a_warning(fifty, tmp_path):
    for collection in (tmp_path, fifty, [str(file) for file in fifty]):
        with pytest.warns(UserWarning, match="left out: ") as warned:
            walked = list(data.batches(collection, 6, 4, skip_broken=True, progress=False))
        messages = sorted(str(each.message).split(" cannot")[0] for each in warned)
        assert len(messages) == 2 and messages[0].endswith("17.jpg") and messages[1].endswith("31.png")
        numbers = [i for part, _ in walked for i in part]
        assert numbers == [i for i in range(50) if i not in (17, 31)]
        greys = torch.cat([x for _, x in walked])[:, 0, 0, 0]
        assert (greys * 255).round().long().tolist() == numbers


def test_a_missing_file_ends_the_walk_even_so(fifty):
    fifty[3].unlink()
    with pytest.raises(FileNotFoundError, match="03.png"):
        list(data.batches(fifty, 6, 4, skip_broken=True, progress=False))


def test_a_dataset_is_read_by_one_thread_and_its_errors_are_its_own():
    shelf = Shelf(20)
    list(data.batches(shelf, progress=False))
    assert shelf.threads == {threading.get_ident()}

    class Torn(Shelf):
        def __getitem__(self, i):
            raise ValueError("my own error")

    with pytest.raises(ValueError, match="^my own error$"):
        list(data.batches(Torn(3), skip_broken=True, progress=False))


def test_a_walk_reads_only_as_far_as_it_is_followed():
    class Watched(Shelf):
        items = 0

        def __getitem__(self, i):
            self.items += 1
            return super().__getitem__(i)

    watched = Watched(100)
    walk = data.batches(watched, batch=5, progress=False)
    next(walk)
    next(walk)
    time.sleep(0.05)
    assert watched.items == 10
    walk.close()


def test_what_is_no_collection_is_refused(tmp_path):
    for wrong in (5, None, (x for x in []), {1, 2}):
        with pytest.raises(TypeError, match=f"a list of files or a Dataset with a length, got {type(wrong).__name__}"):
            data.count(wrong)
    with pytest.raises(ValueError, match="no images: the collection is empty"):
        list(data.batches([], progress=False))
    with pytest.raises(ValueError, match="no images in"):
        list(data.batches(tmp_path, progress=False))
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        list(data.batches(torch.zeros(2, 3, 4, 4), batch=0, progress=False))


def test_a_list_of_tensors_is_refused_as_what_it_is():
    with pytest.raises(TypeError, match=r"images are a tensor \(n, 3, h, w\), a folder, a list of files"):
        list(data.batches([torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)], progress=False))


def test_different_sizes_in_one_batch_are_refused(tmp_path):
    for i in range(4):
        Image.new("RGB", (4 + i % 2, 4)).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match=r"different sizes in one batch: \[\(3, 4, 4\), \(3, 4, 5\)\]; give a size"):
        list(data.batches(tmp_path, None, progress=False))
    assert [x.shape[3] for _, x in data.batches(tmp_path, None, 1, progress=False)] == [4, 5, 4, 5]
    assert [x.shape for _, x in data.batches(tmp_path, 6, progress=False)] == [(4, 3, 6, 6)]


def test_images_are_counted_and_picked_from_every_collection(tmp_path):
    for i in range(5):
        Image.new("RGB", (4, 4), (51 * i, 0, 0)).save(tmp_path / f"{i}.png")
    stack = torch.zeros(5, 3, 4, 4)
    stack[:, 0] = (torch.arange(5) / 5)[:, None, None]
    for collection in (tmp_path, str(tmp_path), data.folder(tmp_path), stack):
        assert data.count(collection) == 5
        assert torch.allclose(data.pick(collection, [4, 0, 4], 4), stack[[4, 0, 4]])
    assert data.pick(Shelf(9), [7, 2])[:, 0, 0, 0].tolist() == pytest.approx([0.07, 0.02])
    with pytest.raises(ValueError, match="no image with number 5: they go from 0 to 4"):
        data.pick(stack, [0, 5])
    with pytest.raises(TypeError, match="the index of an image is a whole number"):
        data.pick(stack, [0.5])


# ---------------------------------------------------------------- what the items of a dataset may be


RAW = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
PLANES = torch.from_numpy(RAW / 255).permute(2, 0, 1).float()
FORMS = {
    "tensor": PLANES,
    "PIL image": Image.fromarray(RAW),
    "bytes": RAW,
    "float64": RAW / 255,
    "float32": (RAW / 255).astype(np.float32),
    "backwards": RAW[::-1, ::-1].copy()[::-1, ::-1],
}
WRAPS = {
    "alone": lambda image: image,
    "tuple": lambda image: (image, 3),
    "list": lambda image: [image, "label"],
    "image": lambda image: {"label": 3, "image": image},
    "img": lambda image: {"img": image},
    "pixel_values": lambda image: {"pixel_values": image, "labels": 3},
    "nested": lambda image: ({"image": image}, 3),
}


class Items(Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("image", FORMS.values(), ids=FORMS)
def test_an_item_may_come_in_any_of_these_forms(image, wrap):
    items = Items(*[wrap(image)] * 3)
    ((numbers, x),) = data.batches(items, None)
    assert numbers == [0, 1, 2] and x.dtype == torch.float32
    for found in (x, data.pick(items, [0, 1, 2], None)):
        assert torch.allclose(found, PLANES.expand(3, -1, -1, -1), atol=1e-6)


def test_pil_images_are_cut_and_resized_as_files_are(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    path = saved(Image.fromarray(RAW), tmp_path / "a.jpg", quality=95, exif=turned)
    with Image.open(path) as image:
        ((_, x),) = data.batches(Items(image, image), 5)
    assert torch.equal(x, data.read(path, 5).expand(2, -1, -1, -1))


@pytest.mark.parametrize(
    ("item", "described"),
    [
        ("a.png", "of type str"),
        (None, "of type NoneType"),
        ((), "of type tuple"),
        ({"photo": RAW, "label": 3}, "a dict with 'photo', 'label'"),
        (RAW[..., 0], r"an array of uint8 and shape \(6, 8\)"),
        (RAW.astype(np.uint16), r"an array of uint16"),
        (RAW.transpose(2, 0, 1), r"an array of uint8 and shape \(3, 6, 8\)"),
        (torch.from_numpy(RAW), r"a tensor of torch.uint8 and shape \(6, 8, 3\)"),
        (PLANES[None], r"a tensor of torch.float32 and shape \(1, 3, 6, 8\)"),
    ],
)
def test_any_other_item_is_refused_with_its_number(item, described):
    items = Items(PLANES, item)
    message = f"image 1 is {described}.*an item is a float tensor .* a PIL image .*image, img, pixel_values"
    with pytest.raises(TypeError, match=message):
        list(data.batches(items, None))
    with pytest.raises(TypeError, match=message):
        data.pick(items, [1], None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch": 2.5}, TypeError, "batch is a whole number.*got 2.5"),
        ({"batch": -1}, ValueError, "batch must be at least 1, got -1"),
        ({"start": "2"}, TypeError, "start is a whole number, got '2'"),
        ({"start": -1}, ValueError, "start must be at least 0, got -1"),
    ],
)
def test_the_numbers_of_a_walk_are_whole(arguments, error, message):
    with pytest.raises(error, match=message):
        next(data.batches(torch.zeros(4, 3, 2, 2), **arguments))
