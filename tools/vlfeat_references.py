"""Makes tests/references/*.npz, what VLFeat's C library computes of small images: python -m tools.vlfeat_references.

The library is a Debian and Ubuntu package: apt-get install libvlfeat1 (0.9.21). The tests read the files only.
Each file holds `picture`, (h, w, 3) 8-bit; `hard` and `bilinear`, (31, rows, columns) of vl_hog (variant UoCTTI, 9
orientations) on picture / 255; `sift`, (128, rows, columns) of vl_dsift (flat window) on its green channel / 255.
"""

import ctypes
from ctypes import POINTER, c_double, c_float, c_int, c_size_t, c_void_p

import numpy as np

from course_lib import data
from project.repository import ROOT

FOLDER = ROOT / "tests" / "references"
UOCTTI = 1


class DsiftFilter(ctypes.Structure):
    """The head of VlDsiftFilter in vl/dsift.h of 0.9.21; its setters are inline, so the library does not hold them."""

    _fields_ = [
        ("size", c_int * 2),
        ("step", c_int * 2),
        ("bounds", c_int * 4),
        ("geometry", c_int * 5),
        ("flat_window", c_int),
        ("window_size", c_double),
        ("frame_count", c_int),
        ("descriptor_size", c_int),
        ("frames", c_void_p),
        ("descriptors", POINTER(c_float)),
    ]


def library() -> ctypes.CDLL:
    vl = ctypes.CDLL("libvl.so.1")
    vl.vl_hog_new.restype = c_void_p
    vl.vl_hog_new.argtypes = [c_int, c_size_t, c_int]  # variant, orientations, transposed
    vl.vl_hog_set_use_bilinear_orientation_assignments.argtypes = [c_void_p, c_int]
    vl.vl_hog_put_image.argtypes = [c_void_p, POINTER(c_float), c_size_t, c_size_t, c_size_t, c_size_t]
    vl.vl_hog_extract.argtypes = [c_void_p, POINTER(c_float)]
    vl.vl_hog_delete.argtypes = [c_void_p]
    for name in ("width", "height", "dimension"):
        getter = getattr(vl, f"vl_hog_get_{name}")
        getter.restype, getter.argtypes = c_size_t, [c_void_p]
    vl.vl_dsift_new_basic.restype = POINTER(DsiftFilter)
    vl.vl_dsift_new_basic.argtypes = [c_int] * 4  # width, height, step, bin
    vl.vl_dsift_process.argtypes = [POINTER(DsiftFilter), POINTER(c_float)]
    vl.vl_dsift_delete.argtypes = [POINTER(DsiftFilter)]
    return vl


def pointer(array: np.ndarray) -> "ctypes._Pointer[c_float]":
    return array.ctypes.data_as(POINTER(c_float))


def hog(vl: ctypes.CDLL, image: np.ndarray, cell: int, bilinear: bool) -> np.ndarray:
    """(h, w, 3) in [0, 1] -> (31, rows, columns)."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    height, width = planes.shape[1:]
    handle = vl.vl_hog_new(UOCTTI, 9, 0)
    vl.vl_hog_set_use_bilinear_orientation_assignments(handle, int(bilinear))
    vl.vl_hog_put_image(handle, pointer(planes), width, height, 3, cell)
    rows, columns = vl.vl_hog_get_height(handle), vl.vl_hog_get_width(handle)
    code = np.zeros((vl.vl_hog_get_dimension(handle), rows, columns), dtype=np.float32)
    vl.vl_hog_extract(handle, pointer(code))
    vl.vl_hog_delete(handle)
    return code


def dense_sift(vl: ctypes.CDLL, grey: np.ndarray, bin: int, window: float) -> np.ndarray:
    """(h, w) in [0, 1] -> (128, rows, columns)."""
    plane = np.ascontiguousarray(grey, dtype=np.float32)
    height, width = plane.shape
    handle = vl.vl_dsift_new_basic(width, height, bin, bin)
    sift = handle.contents
    assert (sift.size[:], sift.window_size) == ([width, height], 2.0), "another layout of VlDsiftFilter"
    sift.flat_window, sift.window_size = 1, window
    vl.vl_dsift_process(handle, pointer(plane))
    columns, rows = ((side - 1) // bin - 2 for side in (width, height))
    assert sift.frame_count == rows * columns
    code = np.ctypeslib.as_array(sift.descriptors, (rows, columns, 128)).transpose(2, 0, 1).copy()
    vl.vl_dsift_delete(handle)
    return code


def images() -> dict[str, tuple[np.ndarray, int, int]]:
    """name -> (image (h, w, 3) 8-bit, cell, bin): photographs whole, odd sides and cells, and noise."""

    def photograph(name: str, height: int, width: int) -> np.ndarray:
        x = data.photograph(name, 64)[0, :, :height, :width]
        return (255 * x).round().byte().permute(1, 2, 0).numpy()

    noise = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    return {
        "chelsea": (photograph("chelsea", 64, 64), 8, 5),
        "coffee": (photograph("coffee", 43, 60), 8, 6),
        "astronaut": (photograph("astronaut", 48, 53), 5, 7),
        "noise": (noise, 4, 5),
    }


if __name__ == "__main__":
    vl = library()
    FOLDER.mkdir(exist_ok=True)
    for name, (image, cell, bin) in images().items():
        unit = image.astype(np.float32) / 255
        np.savez_compressed(
            FOLDER / f"vlfeat_{name}.npz",
            picture=image,
            cell=cell,
            bin=bin,
            hard=hog(vl, unit, cell, bilinear=False),
            bilinear=hog(vl, unit, cell, bilinear=True),
            sift=dense_sift(vl, unit[..., 1], bin, window=1.5),
        )
