"""The four official distributions, written here in their exact layouts, as folders and as archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mplib.data import describe, load
from mplib.data.sources import archives
from mplib.errors import MplibError

Content = dict[str, bytes]  # by the path inside a distribution


def jpeg(value: int, size: tuple[int, int] = (10, 8)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((*size, 3), value, dtype=np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def matlab(**tables: object) -> bytes:
    stream = io.BytesIO()
    savemat(stream, tables)
    return stream.getvalue()


def cells(*texts: str) -> np.ndarray:
    """A column of cells, as MATLAB has lists of texts."""
    column = np.empty((len(texts), 1), dtype=object)
    column[:, 0] = texts
    return column


def structs(names: list[str], rows: list[tuple[object, ...]]) -> np.ndarray:
    """A row of structs."""
    out = np.empty((1, len(rows)), dtype=[(name, object) for name in names])
    for k, row in enumerate(rows):
        out[0, k] = row
    return out


def tiny_imagenet() -> Content:
    files = {
        "wnids.txt": b"n02000002\nn01000001\n",  # not in their order
        "words.txt": b"n00000000\tentity\nn01000001\tgoldfish, carp\nn02000002\tstork\n",
        "val/val_annotations.txt": b"val_0.JPEG\tn02000002\t0\t32\t44\t62\nval_1.JPEG\tn01000001\t1\t2\t3\t4\n",
        "val/images/val_0.JPEG": jpeg(200),
        "val/images/val_1.JPEG": jpeg(210),
        "test/images/test_0.JPEG": jpeg(255),
    }
    for k, wnid in enumerate(["n01000001", "n02000002"]):
        files[f"train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t10\t63\t58\n".encode()
        for i in range(3):
            files[f"train/{wnid}/images/{wnid}_{i}.JPEG"] = jpeg(100 * k + 10 * i)
    return {f"tiny-imagenet-200/{name}": content for name, content in files.items()}


BOX = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]


def cars() -> Content:
    train = [(1, 2, 3, 4, 2, "00001.jpg"), (1, 2, 3, 4, 1, "00002.jpg"), (1, 2, 3, 4, 2, "00003.jpg")]
    return {
        "devkit/cars_meta.mat": matlab(class_names=cells("AM General Hummer SUV 2000", "Acura RL Sedan 2012").T),
        "devkit/cars_train_annos.mat": matlab(annotations=structs([*BOX, "class", "fname"], train)),
        "devkit/cars_test_annos.mat": matlab(annotations=structs([*BOX, "fname"], [(1, 2, 3, 4, "00001.jpg")])),
        "cars_test_annos_withlabels.mat": matlab(
            annotations=structs([*BOX, "class", "fname"], [(1, 2, 3, 4, 1, "00001.jpg"), (1, 2, 3, 4, 2, "00002.jpg")])
        ),
        **{f"cars_train/{k:05d}.jpg": jpeg(50 * k) for k in (1, 2, 3)},
        "cars_test/00001.jpg": jpeg(250),
        "cars_test/00002.jpg": jpeg(230),
    }


def dogs() -> Content:
    names = ["n02085620-Chihuahua/n02085620_10074.jpg", "n02085782-Japanese_spaniel/n02085782_2.jpg"]
    lists = {"train": ([names[0], names[1]], [1, 2]), "test": ([names[1].replace("_2.", "_9.")], [2])}
    files = {f"Images/{name}": jpeg(60 * k + 30) for k, name in enumerate([*names, lists["test"][0][0]])}
    for split, (listed, labels) in lists.items():
        annotations = cells(*(name.removesuffix(".jpg") for name in listed))
        table = {"file_list": cells(*listed), "annotation_list": annotations, "labels": np.array([labels]).T}
        files[f"{split}_list.mat"] = matlab(**table)
    return files


def birds() -> Content:
    rows = [
        (1, "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg", 1, 0),
        (2, "001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg", 1, 1),
        (3, "002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg", 2, 1),
    ]
    files = {
        "classes.txt": b"1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
        "images.txt": "".join(f"{k} {file}\n" for k, file, _, _ in rows).encode(),
        "image_class_labels.txt": "".join(f"{k} {label}\n" for k, _, label, _ in rows).encode(),
        "train_test_split.txt": "".join(f"{k} {train}\n" for k, _, _, train in rows).encode(),
        "bounding_boxes.txt": b"1 60.0 27.0 325.0 304.0\n",
        **{f"images/{file}": jpeg(40 * k) for k, file, _, _ in rows},
    }
    return {"attributes.txt": b""} | {f"CUB_200_2011/{name}": content for name, content in files.items()}


def unpack(folder: Path, content: Content) -> None:
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def pack(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as target:
            for name, data in content.items():
                target.writestr(name, data)
        return
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as target:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))


def part(content: Content, *starts: str) -> Content:
    return {name: data for name, data in content.items() if name.startswith(starts)}


def pack_cars(folder: Path) -> None:
    pack(folder / "car_devkit.tgz", part(cars(), "devkit/"))
    pack(folder / "cars_train.tgz", part(cars(), "cars_train/"))
    pack(folder / "cars_test.tgz", part(cars(), "cars_test/"))
    unpack(folder, part(cars(), "cars_test_annos"))


def pack_dogs(folder: Path) -> None:
    pack(folder / "lists.tar", part(dogs(), "train_list", "test_list"))
    pack(folder / "images.tar", part(dogs(), "Images/"))


def all_cars_in_one_folder(folder: Path) -> None:
    """The other distribution of the cars: car_ims.tgz and cars_annos.mat."""
    train, content = part(cars(), "cars_train/"), list(part(cars(), "cars_test/").values())
    names = [f"car_ims/{k:06d}.jpg" for k in range(1, 6)]
    pack(folder / "car_ims.tgz", dict(zip(names, [*train.values(), *content], strict=True)))
    rows = [(names[k], 1, 2, 3, 4, label, int(k > 2)) for k, label in enumerate([2, 1, 2, 1, 2])]
    table = structs(["relative_im_path", *BOX, "class", "test"], rows)
    classes = cells("AM General Hummer SUV 2000", "Acura RL Sedan 2012").T
    unpack(folder, {"cars_annos.mat": matlab(annotations=table, class_names=classes)})


def nested_cars(folder: Path) -> None:
    """As a mirror packs them: the images one folder deeper."""
    files = cars()
    unpack(folder, {f"{k.split('/')[0]}/{k}" if k.endswith(".jpg") else k: data for k, data in files.items()})


def moved_up(folder: Path, content: Content, top: str) -> None:
    unpack(folder, {name.removeprefix(f"{top}/"): data for name, data in content.items()})


CASES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "tiny folder": ("tiny_imagenet", lambda folder: unpack(folder, tiny_imagenet())),
    "tiny without its top": ("tiny_imagenet", lambda folder: moved_up(folder, tiny_imagenet(), "tiny-imagenet-200")),
    "tiny zip": ("tiny_imagenet", lambda folder: pack(folder / "tiny-imagenet-200.zip", tiny_imagenet())),
    "cars folder": ("stanford_cars", lambda folder: unpack(folder, cars())),
    "cars archives": ("stanford_cars", pack_cars),
    "cars nested": ("stanford_cars", nested_cars),
    "cars in one": ("stanford_cars", all_cars_in_one_folder),
    "dogs folder": ("stanford_dogs", lambda folder: unpack(folder, dogs())),
    "dogs archives": ("stanford_dogs", pack_dogs),
    "birds folder": ("cub200", lambda folder: unpack(folder, birds())),
    "birds archive": ("cub200", lambda folder: pack(folder / "CUB_200_2011.tgz", birds())),
}
EXPECTED: dict[str, tuple[list[str], list[tuple[int, int]], list[tuple[int, int]]]] = {  # grey level and label
    "tiny_imagenet": (
        ["n01000001 goldfish, carp", "n02000002 stork"],
        [(0, 0), (10, 0), (20, 0), (100, 1), (110, 1), (120, 1)],
        [(200, 1), (210, 0)],
    ),
    "stanford_cars": (
        ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"],
        [(50, 1), (100, 0), (150, 1)],
        [(250, 0), (230, 1)],
    ),
    "stanford_dogs": (["Chihuahua", "Japanese spaniel"], [(30, 0), (90, 1)], [(150, 1)]),
    "cub200": (["Black footed Albatross", "Laysan Albatross"], [(80, 0), (120, 1)], [(40, 0)]),
}


@pytest.mark.parametrize("case", CASES)
def test_reads_what_the_authors_packed(tmp_path: Path, case: str) -> None:
    name, write = CASES[case]
    write(tmp_path / name)
    data = load(name, image_size=8, root=tmp_path)
    classes, train, test = EXPECTED[name]
    assert data.classes == classes
    for split, expected in ((data.train, train), (data.test, test)):
        assert split.images.shape[1:] == (3, 8, 8)
        found = zip(split.images[:, 1, 4, 4].tolist(), split.labels.tolist(), strict=True)
        assert all(abs(a - b) <= 2 and k == m for (a, k), (b, m) in zip(found, expected, strict=True))
    about = describe(name, root=tmp_path)
    assert about.present and about.kind == "archive" and str(tmp_path) not in data.source
    assert data.licence == about.licence and "authors' files" in data.source


def test_reads_cars_as_torchvision_reads_them(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets", exc_type=ImportError)
    unpack(tmp_path / "stanford_cars", cars())
    data = load("stanford_cars", image_size=8, root=tmp_path)
    for name, split in (("train", data.train), ("test", data.test)):
        theirs = datasets.StanfordCars(tmp_path, split=name)
        assert theirs.classes == data.classes
        assert [label for _, label in theirs] == split.labels.tolist()
        for (image, _), ours in zip(theirs, split.images, strict=True):
            expected = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC))
            assert np.array_equal(ours.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        ("tiny folder", "tiny-imagenet-200/val/images/val_1.JPEG"),
        ("tiny folder", "tiny-imagenet-200/words.txt"),
        ("cars folder", "cars_train/00003.jpg"),
        ("cars folder", "devkit/cars_meta.mat"),
        ("cars archives", "cars_test.tgz"),
        ("cars archives", "cars_test_annos_withlabels.mat"),
        ("dogs folder", "test_list.mat"),
        ("birds folder", "CUB_200_2011/train_test_split.txt"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, case: str, lost: str) -> None:
    name, write = CASES[case]
    write(tmp_path / name)
    (tmp_path / name / lost).unlink()
    missing = "cars_test/00001.jpg" if lost.endswith(".tgz") else Path(lost).name
    with pytest.raises(MplibError, match=rf"lacks .*{missing}.*, expected the files as their authors packed them"):
        load(name, image_size=8, root=tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cub200" / "CUB_200_2011.tgz"
    pack(path, birds())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MplibError, match=r"CUB_200_2011.tgz cannot be read \(.*\), expected a whole archive"):
        load("cub200", image_size=8, root=tmp_path)
    unpack(tmp_path / "stanford_cars", cars())
    (tmp_path / "stanford_cars" / "cars_train" / "00002.jpg").write_bytes(jpeg(1)[:100])
    with pytest.raises(MplibError, match="cars_train/00002.jpg in .* cannot be decoded"):
        load("stanford_cars", image_size=8, root=tmp_path)
    (tmp_path / "stanford_cars" / "devkit" / "cars_meta.mat").write_bytes(b"no table")
    with pytest.raises(MplibError, match="cars_meta.mat in .* cannot be read .* expected MATLAB's format"):
        load("stanford_cars", image_size=8, root=tmp_path)


def test_lists_that_do_not_fit_together(tmp_path: Path) -> None:
    unpack(tmp_path / "cub200", birds() | {"CUB_200_2011/image_class_labels.txt": b"1 1\n"})
    with pytest.raises(
        MplibError, match="the lists of cub200 in .* cannot be understood .*, expected the authors' own"
    ):
        load("cub200", image_size=8, root=tmp_path)


def test_shards_and_image_files_of_the_same_name_are_still_read(tmp_path: Path) -> None:
    for k, name in enumerate(("no", "yes")):
        for split in ("train", "test"):
            unpack(tmp_path / "cub200", {f"{split}/{name}/0.jpg": jpeg(100 * k)})
    assert load("cub200", image_size=8, root=tmp_path).classes == ["no", "yes"]
    assert describe("cub200", tmp_path).kind == "folder"


def test_downloads_what_is_missing_and_only_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_dogs(tmp_path / "made")
    asked: list[str] = []

    def fetch(url: str, path: Path, md5: str, otherwise: str) -> None:
        asked.append(url)
        assert len(md5) == 32 and "put lists.tar and images.tar there" in otherwise
        (tmp_path / "made" / path.name).rename(path)

    monkeypatch.setattr(archives, "fetch", fetch)
    folder = tmp_path / "stanford_dogs"
    folder.mkdir()
    (tmp_path / "made" / "lists.tar").rename(folder / "lists.tar")
    assert not describe("stanford_dogs", tmp_path).present
    assert load("stanford_dogs", image_size=8, root=tmp_path).num_classes == 2
    assert asked == ["http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar"]
