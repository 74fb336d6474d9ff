"""The same work on this machine and on a real cluster of two worker processes."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import distributed
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from course_lib import data, progress, scale
from course_lib.embedding import codes
from course_lib.patches import top_patches

BATCH = 4

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=True, host="127.0.0.1"
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def address(cluster):
    return cluster.scheduler_address


class Mixing(nn.Module):
    """Its codes depend on the batch; it notes who computes it, and lingers over images that begin with white."""

    image_size = 8

    def __init__(self, notes, seconds=0.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.notes, self.seconds = notes, seconds
        generator = torch.Generator().manual_seed(0)
        nn.init.normal_(self.conv.weight, generator=generator)
        nn.init.normal_(self.conv.bias, generator=generator)

    def forward(self, x):
        note = self.notes / f"{os.getpid()}-{time.monotonic_ns()}"
        time.sleep(self.seconds * (5 if x.flatten()[0] == 1 else 1))
        a = self.conv(x)
        note.touch()
        return a - a.mean(0)


class Whole(Mixing):
    """Of whole numbers, so that activations are often equal."""

    def __init__(self, notes, seconds=0.0):
        super().__init__(notes, seconds)
        with torch.no_grad():
            self.conv.weight.copy_(self.conv.weight.round())
            self.conv.bias.zero_()

    def forward(self, x):
        super().forward(x)
        return self.conv(x).clamp(0, 3)


class Items(Dataset):
    def __init__(self, images, extra=None):
        self.images, self.extra = images, extra

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], i


@pytest.fixture
def images(generator):
    """58, so that the last batch is short; the first batch begins with white."""
    images = torch.randint(0, 2, (58, 3, 8, 8), generator=generator).float()
    images[:, 0, 0, 0] = 0
    images[0, 0, 0, 0] = 1
    return images


@pytest.fixture
def folder(images, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{i:03}.png")
    return folder


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def who(notes):
    return [int(note.name.split("-")[0]) for note in notes.iterdir()]


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("values", "index", "boxes"))


FORMS = {
    "folder": lambda folder, images: folder,
    "files": lambda folder, images: [str(file) for file in data.folder(folder)],
    "tensor": lambda folder, images: images,
    "dataset": lambda folder, images: Items(images),
}


@pytest.mark.parametrize("form", FORMS)
def test_codes_are_those_of_one_machine(address, form, folder, images, notes, monkeypatch):
    net, walked = Mixing(notes), FORMS[form](folder, images)
    expected = codes(net, "", walked, batch=BATCH, progress=False)
    for note in notes.iterdir():
        note.unlink()
    monkeypatch.chdir(folder.parent)
    walked = "images" if form == "folder" else walked  # relative to where the caller is, and no worker
    assert torch.equal(codes(net, "", walked, batch=BATCH, scheduler=address, progress=False), expected)
    assert len(who(notes)) == 15 + 1 and who(notes).count(os.getpid()) == 2  # the layer is explored here, and once


@pytest.mark.parametrize("form", FORMS)
def test_top_patches_are_those_of_one_machine(address, form, folder, images, notes):
    walked = FORMS[form](folder, images)
    for net in (Mixing(notes), Whole(notes)):
        expected = top_patches(net, "", walked, 7, batch=BATCH, progress=False)
        assert same(top_patches(net, "", walked, 7, batch=BATCH, scheduler=address, progress=False), expected)


def test_equal_activations_go_to_the_earlier_image_whoever_is_done_first(address, images, notes):
    net = Whole(notes, seconds=0.05)  # the first batch comes last
    some = images[:8].repeat(4, 1, 1, 1)
    some[4:, 0, 0, 0] = 0
    expected = top_patches(Whole(notes), "", some, 9, batch=BATCH, progress=False)
    assert (expected.values.diff(dim=1) == 0).sum() > 20
    assert same(top_patches(net, "", some, 9, batch=BATCH, scheduler=address, progress=False), expected)
    assert scale_order(address) == list(range(8))


def scale_order(address):
    return list(scale.each(partial(later, 8), range(8), scheduler=address))


def test_no_more_is_handed_out_than_may_wait(address, tmp_path):
    results = scale.each(partial(noted, tmp_path), range(200), scheduler=address)
    assert next(results) == 0
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 2 * scale.AHEAD
    assert list(results) == list(range(1, 200))


def noted(folder, i):
    (folder / str(i)).touch()
    return i


def later(n, i):
    time.sleep(0.02 * (n - i))
    return i


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_a_trained_network_gives_the_same_bits_whatever_the_number_of_threads(address, coursenet, scenes, threads):
    images = scenes.images.repeat(3, 1, 1, 1)[:23]
    expected = codes(coursenet, "fc8", images, batch=5, progress=False)
    assert torch.equal(codes(coursenet, "fc8", images, batch=5, scheduler=address, progress=False), expected)
    patches = partial(top_patches, coursenet, "conv3", images, 9, batch=5, progress=False)
    assert same(patches(scheduler=address), patches())


def test_the_threads_of_the_pieces_share_the_cores_of_a_worker(monkeypatch):
    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(state=SimpleNamespace(nthreads=8)))
    for threads, pieces in ((1, 8), (3, 2), (16, 1)):
        room = scale._Shared(b"", threads).room
        assert sum(room.acquire(blocking=False) for _ in range(20)) == pieces


def test_the_bar_moves_with_the_results(address, images, notes, monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", 0)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    codes(Mixing(notes, seconds=0.1), "", images, batch=BATCH, scheduler=address)
    assert "/58" in capsys.readouterr().err


def killed_half_way(notes, victim, after=3):
    """Kills a worker with -9 once it has done some batches."""

    def kill():
        while who(notes).count(victim) < after:
            time.sleep(0.005)
        os.kill(victim, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.fixture
def victim(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        yield next(iter(client.run(os.getpid).values()))


def test_a_worker_killed_half_way_loses_no_code(cluster, victim, folder, notes, tmp_path):
    expected = codes(Mixing(tmp_path), "", folder, batch=1, progress=False)
    killer = killed_half_way(notes, victim)
    found = codes(
        Mixing(notes, seconds=0.05),
        "",
        folder,
        batch=1,
        out=tmp_path / "codes.npy",
        scheduler=cluster.scheduler_address,
        progress=False,
    )
    killer.join()
    assert torch.equal(found, expected)
    assert 3 <= who(notes).count(victim) < 20 and len(set(who(notes))) >= 3


def test_a_worker_killed_half_way_loses_no_patch(cluster, victim, folder, notes, tmp_path):
    expected = top_patches(Whole(tmp_path), "", folder, 9, batch=1, progress=False)
    killer = killed_half_way(notes, victim)
    found = top_patches(
        Whole(notes, seconds=0.05), "", folder, 9, batch=1, scheduler=cluster.scheduler_address, progress=False
    )
    killer.join()
    assert same(found, expected)
    assert 3 <= who(notes).count(victim) < 20


def test_where_all_workers_go_at_once_the_same_call_goes_on(cluster, address, images, notes, tmp_path):
    run = partial(codes, Mixing(notes, seconds=0.1), "", images, batch=BATCH, out=tmp_path / "codes.npy")
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        workers = list(client.run(os.getpid).values())
    killers = [killed_half_way(notes, worker, after=2) for worker in workers]
    with pytest.raises(RuntimeError, match="all workers of .* went at once; call again when some are back"):
        run(scheduler=address, progress=False)
    for killer in killers:
        killer.join()
    before = len(who(notes))
    found = run(scheduler=address, progress=False)
    assert len(who(notes)) - before < 15
    assert torch.equal(found, codes(Mixing(tmp_path), "", images, batch=BATCH, progress=False))


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_scale import Mixing
from course_lib.embedding import codes
codes(Mixing(Path({notes!r}), 0.1), "", {folder!r}, batch=4, out={out!r}, scheduler={address!r}, progress=False)
"""


def test_killed_and_called_again_it_goes_on(address, folder, notes, tmp_path):
    out = tmp_path / "codes.npy"
    names = {"tests": str(Path(__file__).parent), "notes": str(notes), "folder": str(folder), "out": str(out)}
    run = subprocess.Popen([sys.executable, "-c", PROGRAM.format(**names, address=address)])
    while not out.exists() or np.isfinite(np.load(out)).all(1).sum() < 16:
        assert run.poll() is None
        time.sleep(0.01)
    run.kill()
    run.wait()
    done = int(np.isfinite(np.load(out)).all(1).sum())
    assert 16 <= done < 58

    time.sleep(1)  # what it had handed out runs out
    for note in notes.iterdir():
        note.unlink()
    expected = codes(Mixing(tmp_path), "", folder, batch=BATCH, progress=False)
    found = codes(Mixing(notes), "", folder, batch=BATCH, out=out, scheduler=address, progress=False)
    assert torch.equal(found, expected)
    left = [note for note in who(notes) if note != os.getpid()]
    assert len(left) <= (58 - done) // BATCH + 1 + 2


def test_files_that_cannot_be_read_are_named_and_left_out(address, folder, notes):
    for name in ("005", "007", "021"):
        (folder / f"{name}.png").write_bytes(b"not an image")
    run = partial(codes, Mixing(notes), "", folder, batch=BATCH, progress=False)
    with pytest.warns(UserWarning, match="left out: "):
        expected = run(skip_broken=True)
    with pytest.warns(UserWarning, match="left out: ") as warned:
        found = run(skip_broken=True, scheduler=address)
    assert torch.equal(found.nan_to_num(9), expected.nan_to_num(9))
    assert found.isnan().all(1).nonzero()[:, 0].tolist() == [5, 7, 21]
    named = [name for each in warned for name in ("005", "007", "021") if f"{name}.png" in str(each.message)]
    assert named == ["005", "007", "021"]
    with pytest.raises(ValueError, match="005.png cannot be read as an image"):
        run(scheduler=address)


def test_a_file_that_no_worker_sees_is_named(address, folder, notes):
    files = [*data.folder(folder), folder / "gone.png"]
    with pytest.raises(FileNotFoundError, match="gone.png"):
        codes(Mixing(notes), "", files, scheduler=address, progress=False)


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("tcp://127.0.0.1:9", ValueError, r"no Dask scheduler answers at 'tcp://127.0.0.1:9'.*or leave scheduler out"),
        ("nonsense", ValueError, "no Dask scheduler answers at 'nonsense'"),
        ("http://127.0.0.1:8786", ValueError, "no Dask scheduler answers at 'http://127.0.0.1:8786'"),
        ("", ValueError, "no Dask scheduler answers at ''"),
        (8786, TypeError, 'scheduler is an address, such as "tcp://host:8786", got int'),
    ],
)
def test_an_address_where_nobody_answers_is_refused(address, error, words, images, notes, monkeypatch):
    monkeypatch.setattr(scale, "WAIT", 1)
    with pytest.raises(error, match=words):
        codes(Mixing(notes), "", images, scheduler=address, progress=False)


def test_a_cluster_without_workers_is_refused(images, notes, monkeypatch):
    monkeypatch.setattr(scale, "WAIT", 1)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", host="127.0.0.1") as empty,
        pytest.raises(ValueError, match="has no worker: start one, `dask worker tcp://"),
    ):
        top_patches(Mixing(notes), "", images, 3, scheduler=empty.scheduler_address, progress=False)


def test_a_network_whose_module_the_workers_lack_is_named(address, images, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("from torch import nn\n\n\nclass Mine(nn.Conv2d):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    net = importlib.import_module("only_here").Mine(3, 4, 3)
    with pytest.raises(
        ModuleNotFoundError, match="No module named 'only_here'\non a worker of the cluster, which needs"
    ):
        codes(net, "", images, scheduler=address, progress=False)


class Locked(Mixing):
    def __init__(self, notes):
        super().__init__(notes)
        self.lock = threading.Lock()


def test_what_cannot_be_sent_is_refused_by_name(images, notes):
    nobody = "tcp://127.0.0.1:9"  # refused before anybody is called
    for run in (partial(codes, scheduler=nobody), partial(top_patches, k=3, scheduler=nobody)):
        with pytest.raises(TypeError, match=r"the network \(Locked\) cannot be sent.*lock.*or leave scheduler out"):
            run(Locked(notes), "", images)
        with pytest.raises(TypeError, match=r"the dataset \(Items\) cannot be sent.*generator.*give a folder"):
            run(Mixing(notes), "", Items(images, (i for i in range(3))))
        with pytest.raises(TypeError, match="images are a tensor"):
            run(Mixing(notes), "", (image for image in images))
        with torch.autocast("cpu"), pytest.raises(ValueError, match="autocast is on here"):
            run(Mixing(notes), "", images)
        net = Mixing(notes)
        net.conv.register_forward_hook(print)
        with pytest.raises(ValueError, match="layer 'conv' of the network carries a hook.*remove it"):
            run(net, "", images)
