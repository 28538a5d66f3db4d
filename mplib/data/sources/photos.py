"""``photos``: small patches of seventeen photographs; the class of a patch is the photograph it comes from.

A stand-in for a source data set that needs no download. It is meant to be hard, and small enough to overfit:

- a photograph is cut into a grid of patches that do not overlap, so no two images share a pixel, and what a
  network learns by heart from one does not help it with another;
- every fourth column of the grid is test, the other columns are training: two regions without a common pixel;
- a patch in which nothing is to be seen (an even sky, a black corner) is left out: it could be from anywhere;
- of the rest, an even choice over the photograph is kept, few of them by default, the same number for each.

There is no randomness in it. Fewer, smaller or grey patches make it harder.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mplib.data.catalogue import CATALOGUE
from mplib.data.dataset import Dataset, Split, interleave, whole_number
from mplib.data.images import resize
from mplib.data.sources.wheels import check, wheel_file
from mplib.errors import MplibError


class _Photo(NamedTuple):
    """A file in scikit-image's data folder and its known checksums: of the decoded pixels, but of the bytes of a
    JPEG file, which decoders may round differently."""

    file: str
    known: tuple[str, ...]


# All photographs that scikit-image's wheels ship, without the drawings, the right half of the stereo pair, one
# photograph that is all blur and one too small to cut. The same files come with versions 0.24 to 0.26.
_PHOTOS = {
    "astronaut": _Photo("astronaut.png", ("d9135e776018b6cb6fe8a26c754a4681ebeb188ee6f10abbe1c035bbc004d4bb",)),
    "brick": _Photo("brick.png", ("0fd96b7d234b96de55fa9bc7aff65f912249a1b9d0325aa27728c9676c280006",)),
    "camera": _Photo("camera.png", ("aa6392f41e6b5c2d78c25714473803e5bd665e4c674fe5d00604e6a5e73b04eb",)),
    "cell": _Photo("cell.png", ("13dce0d706ddbd9cfbf0de3e577a1338f0e05f94a54b9eda061604e7d85e7e60",)),
    "chelsea": _Photo("chelsea.png", ("f557f9b317114c13700715738bc2d8df2647a235c6b30c78ab41755810213a7f",)),
    "coffee": _Photo("coffee.png", ("d6daf5b84a4a64a80924112eaaae5ec31bef1e5ff2d93567f049def5ead621e8",)),
    "coins": _Photo("coins.png", ("8ef5485724125bf54bf1eab6445ffc6a3b008c580c4a84ae88b0452e5e9df981",)),
    "grass": _Photo("grass.png", ("126cf3b57b6c8f3823156e9d9e29c1e906b184b614ee30c3fe1ac0d4449e3932",)),
    "gravel": _Photo("gravel.png", ("52d944a1131e0f6984bb89d5aa445ba4657bb46ea5b7c18e0f2e08b77f57f9cd",)),
    "hubble": _Photo("hubble_deep_field.jpg", ("8dcb45ccf03abccb5b7e497fad607b15413c76eff467f071343f04a224782feb",)),
    "ihc": _Photo("ihc.png", ("9c0fc27fe9809fe33d2cca78330f2f2d465f741804e7c3d61b3f7da6c342b058",)),
    "moon": _Photo("moon.png", ("dcc3d46e95cf465feaebe4f1af3b014df9fc16a2143f38f246d2dcbfa4e29ed7",)),
    "motorcycle": _Photo("motorcycle_left.png", ("40290806c8e5dddc2344f66bee5bbee24a87022abafe462021d5a2f2f53a94c6",)),
    "page": _Photo("page.png", ("2bfe73a3b460927db4f3095bc0eb1a3e4e561211e2a93f672c966b1bac0b22f4",)),
    "retina": _Photo("retina.jpg", ("154b00c30a4abc9cdbdfefaaa77f23f56725eaaaddd14abd21243d35feeea2c9",)),
    "rocket": _Photo("rocket.jpg", ("215bb662e0868f1cec72a81c6069ba4a7be6e6c827b1be98bd1431296bfd59bd",)),
    "text": _Photo("text.png", ("2662100eb916f41e2002f9ab8a6f94e1688c447414e7a6f511d522d020c6eead",)),
}
_FLATTEST = 2  # grey levels: with a standard deviation below this in every channel, a patch shows nothing


def read_photos(name: str, image_size: int, patch: int = 32, per_photo: int = 40, grey: bool = False) -> Dataset:
    """Cut the photographs into patches.

    Args:
        name: "photos" or "photos-grey".
        image_size: height and width to resize the patches to, in pixels.
        patch: height and width of a patch in the photograph, in pixels, 4 to 64.
        per_photo: training patches from each photograph, at least 4; three test patches for every ten of them.
        grey: whether to take the colour away.

    Returns:
        The data set; its name tells the options that are not the default.

    Raises:
        MplibError: more patches than a photograph has, or scikit-image is missing or ships other photographs.
    """
    whole_number("patch", patch, 4, 64)
    whole_number("per_photo", per_photo, 4)
    if not isinstance(grey, bool):
        raise MplibError(f"grey is {grey!r}, expected True or False")
    grey = grey or name == "photos-grey"
    kept: dict[str, list[NDArray[np.uint8]]] = {"train": [], "test": []}
    for title in _PHOTOS:
        grid = _cut(_photograph(title), patch)
        columns = np.arange(grid.shape[1])
        for split, mine, count in (
            ("train", columns % 4 != 3, per_photo),
            ("test", columns % 4 == 3, per_photo * 3 // 10),
        ):
            patches = grid[:, mine].reshape(-1, patch, patch, 3)
            patches = patches[_shows_something(patches)]
            if len(patches) < count:
                raise MplibError(
                    f"per_photo is {per_photo}, but the photograph {title!r} has only {len(patches)} {split} patches "
                    f"of {patch} px where {count} are needed; expected fewer, or smaller patches"
                )
            kept[split].append(patches[np.arange(count) * len(patches) // count])
    train, test = (_split(kept[split], grey, image_size, name) for split in ("train", "test"))
    given = [f"{k}={v}" for k, v, default in (("patch", patch, 32), ("per_photo", per_photo, 40)) if v != default]
    label = ("photos-grey" if grey else "photos") + (f"[{','.join(given)}]" if given else "")
    about = CATALOGUE[name]
    return Dataset(label, train, test, list(_PHOTOS), about.flip, about.licence, about.citation, about.origin)


def _photograph(title: str) -> NDArray[np.uint8]:
    """A photograph as uint8, (H, W, 3)."""
    photo = _PHOTOS[title]
    path = wheel_file("skimage", "scikit-image", f"data/{photo.file}")
    with Image.open(path) as image:
        checked = np.frombuffer(path.read_bytes(), dtype=np.uint8) if path.suffix == ".jpg" else np.asarray(image)
        check(f"{photo.file} of scikit-image", checked, photo.known)
        return np.asarray(image.convert("RGB"))


def _cut(photograph: NDArray[np.uint8], patch: int) -> NDArray[np.uint8]:
    """All whole patches of a photograph's grid, (rows, columns, patch, patch, 3)."""
    rows, columns = photograph.shape[0] // patch, photograph.shape[1] // patch
    grid = photograph[: rows * patch, : columns * patch].reshape(rows, patch, columns, patch, 3)
    return grid.swapaxes(1, 2)


def _shows_something(patches: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the patches (N, S, S, 3) vary enough; in whole numbers, so that every machine agrees."""
    values = patches.reshape(len(patches), -1, 3).astype(np.uint32)
    count = values.shape[1]
    # count^2 times the variance, count sum x^2 - (sum x)^2, against count^2 times the square of the limit
    spread = count * (values**2).sum(axis=1, dtype=np.int64) - values.sum(axis=1, dtype=np.int64) ** 2
    shows: NDArray[np.bool_] = spread.max(axis=1) >= (_FLATTEST * count) ** 2
    return shows


def _split(patches: list[NDArray[np.uint8]], grey: bool, image_size: int, name: str) -> Split:
    labels = torch.repeat_interleave(torch.arange(len(patches)), len(patches[0]))
    pixels = np.concatenate(patches)
    if grey:
        pixels = np.stack([np.asarray(Image.fromarray(patch).convert("L")) for patch in pixels])
    rows = interleave(labels, len(patches))
    return Split(resize(pixels, image_size, name)[rows], labels[rows])
