from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

import mplib
from mplib import provenance


def test_the_source_hash_follows_the_code_and_not_its_words(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGE", tmp_path)

    def hash_of(text: str) -> str:
        (tmp_path / "part.py").write_text(text)
        return provenance.source_hash(["part"])

    code = "def f(x):\n    return x + 1\n"
    assert hash_of(code) == hash_of('"""Words."""\n\n\ndef f(x):\n    """More."""\n    # why\n    return x + 1\n')
    assert hash_of(code) != hash_of("def f(x):\n    return x + 2\n")


def test_every_part_that_decides_a_result_exists() -> None:
    package = Path(mplib.__file__).parent
    assert all((package / part).is_dir() or (package / f"{part}.py").is_file() for part in provenance.METHOD)


def test_the_environment_is_recorded() -> None:
    record = provenance.environment(torch.device("cpu"))
    assert record["torch"] == torch.__version__ and record["device"].startswith("cpu") and len(record["source"]) == 12


def test_imports_quickly_and_without_torchvision() -> None:
    """Import time is measured in the benchmark; here, that nothing heavy comes along."""
    heavy = ["torchvision", "sklearn", "skimage", "mlxtend", "pandas", "matplotlib", "scipy"]
    code = f"import mplib, sys; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_works_where_torchvision_is_not_installed() -> None:
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "import torch, mplib\n"
        "net = mplib.attach(mplib.nets.build('conv4', 10, 16, width=4), mplib.MetaPerturb(), image_size=16)\n"
        "data = mplib.data.load('digits', image_size=16)\n"
        "print(mplib.train(net, data, steps=1, batch_size=8, device='cpu').rows[-1]['step'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
