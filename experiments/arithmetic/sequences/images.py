"""Images of digits: the files of MNIST or SVHN, where they are given, or a small stand-in that is drawn here."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.errors import UserError

VARIABLE = "ORCH_MNIST"
"""Environment variable: the folder with the four IDX files of MNIST, as they are published or unpacked."""

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MEAN, STD = 0.1307, 0.3081
"""Of the pixels of MNIST, from 0 to 1."""

SVHN_VARIABLE = "ORCH_SVHN"
"""Environment variable: the folder with the two files of SVHN, of its cropped digits."""

SVHN_FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}

VALID = 5000
"""Images of the training files that are for validation, the last ones; a twelfth of MNIST's."""


class Digits(NamedTuple):
    """Some images and what they show."""

    images: npt.NDArray[np.uint8]
    """uint8 (n, 28, 28)."""
    labels: npt.NDArray[np.uint8]
    """uint8 (n,)."""

    def normalised(self) -> npt.NDArray[np.float32]:
        """Return the images with the mean and deviation of MNIST taken off, float32 (n, 1, 28, 28)."""
        scaled = (self.images[:, None].astype(np.float32) / 255 - MEAN) / STD
        return scaled.astype(np.float32)


class Photographs(Digits):
    """Digits in colour, uint8 (n, 3, 32, 32)."""

    def normalised(self) -> npt.NDArray[np.float32]:
        """Return the images from 0 to 1, float32 (n, 3, 32, 32)."""
        return self.images.astype(np.float32) / np.float32(255)


class Sources(NamedTuple):
    """Digits for training, validation and test."""

    train: Digits
    valid: Digits
    test: Digits


def load(kind: str) -> Sources:
    """Return the digits of this kind: ``mnist``, ``svhn`` or ``stand-in``.

    The first two are in the folders that the environment variables ``ORCH_MNIST`` and ``ORCH_SVHN`` name.

    The last 5000 training images are for validation, or the last twelfth, where there are fewer than 60,000.

    Raises
    ------
    UserError
        If the files are not there, or are not what they should be.
    """
    train, test = {"mnist": _mnist, "svhn": _svhn, "stand-in": _stand_in}[kind]()
    valid = min(VALID, len(train.labels) // 12)
    made = type(train)
    return Sources(
        made(train.images[:-valid], train.labels[:-valid]), made(train.images[-valid:], train.labels[-valid:]), test
    )


def _mnist() -> tuple[Digits, Digits]:
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise UserError(
            f"images: mnist needs the IDX files of MNIST: set the environment variable {VARIABLE} to the folder that "
            f"has {', '.join(name for pair in FILES.values() for name in pair)}, packed or unpacked; "
            "or set images: stand-in"
        )
    train, test = (Digits(*(read_idx(_find(Path(folder), name)) for name in FILES[part])) for part in FILES)
    for digits in (train, test):
        if digits.images.shape[1:] != (28, 28) or digits.labels.shape != digits.images.shape[:1]:
            raise UserError(
                f"the files in {folder} hold images {digits.images.shape} and labels {digits.labels.shape}, "
                "not (n, 28, 28) and (n,): they are not those of MNIST"
            )
    return train, test


def _svhn() -> tuple[Digits, Digits]:
    folder = os.environ.get(SVHN_VARIABLE)
    if not folder:
        raise UserError(
            f"images: svhn needs the cropped digits of SVHN: set the environment variable {SVHN_VARIABLE} to the "
            f"folder that has {' and '.join(SVHN_FILES.values())}; or set images: stand-in"
        )
    return read_mat(Path(folder) / SVHN_FILES["train"]), read_mat(Path(folder) / SVHN_FILES["test"])


def read_mat(path: Path) -> Photographs:
    """Read a file of SVHN: images X (32, 32, 3, n), labels y (n, 1), in which 10 stands for the digit 0.

    Raises
    ------
    UserError
        If it is not there, damaged, or holds something else.
    """
    from scipy.io import loadmat

    if not path.exists():
        raise UserError(f"there is no {path.name} in {path.parent}; {SVHN_VARIABLE} names that folder")
    try:
        held = loadmat(path)
    except MemoryError:
        raise
    except Exception as error:  # what is damaged raises whatever it likes: zlib.error, IndexError …
        raise UserError(f"{path} cannot be read: {error}") from error
    x, y = held.get("X"), held.get("y")
    if x is None or y is None or x.shape[:3] != (32, 32, 3) or y.size != x.shape[-1]:
        raise UserError(f"{path} has no images X (32, 32, 3, n) with labels y (n, 1): it is not one of SVHN")
    return Photographs(np.ascontiguousarray(x.transpose(3, 2, 0, 1)), (y.ravel() % 10).astype(np.uint8))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz", folder / "MNIST" / "raw" / name):
        if path.exists():
            return path
    raise UserError(f"there is no {name} in {folder}, packed or unpacked; {VARIABLE} names that folder")


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read a file of the IDX format: two zeros, a type, the number of dimensions, their sizes, the bytes.

    Raises
    ------
    UserError
        If it is damaged, or holds something else than bytes.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise UserError(f"{path} is no IDX file of bytes: it begins with {data[:4].hex()}, not with 000008")
    sizes = np.frombuffer(data, ">u4", count=data[3], offset=4).astype(int)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if len(values) != sizes.prod():
        raise UserError(f"{path} is cut short: it promises {sizes.prod()} bytes and has {len(values)}")
    return values.reshape(sizes)


# --- the stand-in -----------------------------------------------------------------------------------------------------

SEGMENTS = (
    "1110111",
    "0010010",
    "1011101",
    "1011011",
    "0111010",
    "1101011",
    "1101111",
    "1010010",
    "1111111",
    "1111011",
)
"""Which of seven strokes each digit has: top, upper left, upper right, middle, lower left, lower right, bottom."""


def _stand_in() -> tuple[Digits, Digits]:
    return stand_in(1200, 1), stand_in(400, 2)


def stand_in(count: int, seed: int) -> Digits:
    """Draw digits of seven strokes, shifted, of varying strength, with noise: enough to try a program out."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, size=count).astype(np.uint8)
    strokes = np.zeros((7, 28, 28), np.float32)
    for number, (rows, columns) in enumerate(
        [((4, 6), (9, 19)), ((5, 14), (8, 10)), ((5, 14), (18, 20)), ((13, 15), (9, 19)), ((14, 23), (8, 10)),
         ((14, 23), (18, 20)), ((22, 24), (9, 19))]
    ):  # fmt: skip
        strokes[number, slice(*rows), slice(*columns)] = 1
    shapes = np.array([[int(bit) for bit in digit] for digit in SEGMENTS], np.float32)
    drawn = np.clip(np.einsum("ns,shw->nhw", shapes[labels], strokes), 0, 1)
    for image in range(count):
        drawn[image] = np.roll(drawn[image], rng.integers(-3, 4, size=2), axis=(0, 1))
    drawn = drawn * rng.uniform(0.6, 1, size=(count, 1, 1)) + rng.normal(0, 0.05, size=drawn.shape)
    return Digits((np.clip(drawn, 0, 1) * 255).astype(np.uint8), labels)
