import importlib.util
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
from conftest import Stream
from PIL import Image

COMMAND = pathlib.Path(sys.executable).with_name("nextbatch")
PACKAGE = pathlib.Path(__file__).parents[1]


def run(*args: object, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=120, env={**os.environ, **env})


def photos(folder: pathlib.Path) -> None:
    """Forty images in two colors, two formats and two folders."""
    rng = np.random.default_rng(0)
    for i in range(40):
        color = np.array([200, 30, 30] if i % 2 else [30, 30, 200])
        array = np.clip(color + rng.normal(0, 5, (32 + i, 48, 3)), 0, 255).astype("uint8")
        path = folder / f"{'red' if i % 2 else 'blue'}/{i:02d}.{'png' if i % 3 else 'JPG'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(array).save(path, format="PNG" if i % 3 else "JPEG")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").mkdir()
    (folder / ".hidden/x.png").write_text("no image either")


def test_embed(tmp_path: pathlib.Path, dataset: str, stream: Stream) -> None:
    photos(tmp_path)
    args = [COMMAND, "embed", f"input_dir={tmp_path}", f"dataset={dataset}", "model=pixels", "batch_size=7", "select=2", "embedding=coarse"]
    done = run(*args)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split()
    assert {first.split("/")[0], second.split("/")[0]} == {"red", "blue"}  # the two farthest from one another
    assert "40/40 images, 0 s left" in done.stderr and "192 numbers each" in done.stderr
    assert run(*args).stdout == done.stdout and len(stream.sent(dataset)) == 1  # again is once
    options = run(COMMAND, "embed", "--input_dir", tmp_path, "--dataset", dataset, "--model", "pixels", "--select", "2", "--embedding", "coarse")
    assert options.stdout == done.stdout


def test_embed_says_what_is_wrong(tmp_path: pathlib.Path, dataset: str, stream: Stream) -> None:
    args = [COMMAND, "embed", f"input_dir={tmp_path}", f"dataset={dataset}"]
    assert "there are no images below" in run(*args, "model=pixels").stderr
    photos(tmp_path)
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG broken")
    broken = run(*args, "model=pixels")
    assert broken.returncode == 1 and "nextbatch: 4 of 44 images cannot be read: a.png (" in broken.stderr and "c.png" in broken.stderr and ", …" in broken.stderr
    assert "Traceback" not in broken.stderr and stream.sent(dataset) == []
    assert "want pixels, a model of torchvision, or timm:name" in run(*args, "model=onnx:x").stderr
    assert "required: --input_dir" in run(COMMAND, "embed", "dataset=x").stderr
    nobody = run(*args, "model=pixels", f"input_dir={tmp_path}/red", "url=nats://127.0.0.1:1")
    assert nobody.returncode == 1 and "no connection to NATS at 127.0.0.1:1" in nobody.stderr


def test_torch_is_missing(tmp_path: pathlib.Path, dataset: str) -> None:
    assert importlib.util.find_spec("torch") is None, "this test is about an environment without torch"
    photos(tmp_path)
    for model, extra in (("resnet18", "torch"), ("timm:vit_tiny_patch16_224", "timm")):
        done = run(COMMAND, "embed", f"input_dir={tmp_path}", f"dataset={dataset}", f"model={model}")
        assert done.returncode == 1 and f"torch is not installed, which model={model} needs: pip install 'nextbatch[{extra}]'" in done.stderr


def test_types() -> None:
    done = run(sys.executable, "-m", "mypy", "--config-file", PACKAGE / "pyproject.toml", "--cache-dir", os.devnull, PACKAGE / "src/nextbatch")
    assert done.returncode == 0, done.stdout
    assert "no issues found" in done.stdout


def test_wheel(tmp_path: pathlib.Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, PACKAGE)
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    sources = {p.name for p in (PACKAGE / "src/nextbatch").iterdir() if p.is_file()}
    assert {f.split("/")[1] for f in files if f.startswith("nextbatch/")} == sources and "py.typed" in sources
    installed = run(*pip, "install", "--no-deps", "--no-index", "--target", tmp_path / "site", wheel)
    assert installed.returncode == 0, installed.stderr
    where = run(sys.executable, "-c", "import nextbatch; print(nextbatch.__file__)", PYTHONPATH=str(tmp_path / "site"))
    assert where.stdout.startswith(str(tmp_path / "site"))
    assert "usage: nextbatch embed" in run(tmp_path / "site/bin/nextbatch", "embed", "--help", PYTHONPATH=str(tmp_path / "site")).stdout
