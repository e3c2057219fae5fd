"""Embeddings of the images below a folder."""

import os
import pathlib
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ._checks import Array, BadInput

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
SIDE = 8  # of the image that pixels looks at

Embed = Callable[[Sequence[Any]], Array]  # images of PIL to rows


def images(folder: str) -> List[str]:
    """The names of the images below folder, relative to it, sorted. What is
    hidden is left out."""
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise BadInput(f"{folder} is no folder")
    names: List[str] = []
    for path, folders, files in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for file in files:
            if not file.startswith(".") and pathlib.Path(file).suffix.lower() in SUFFIXES:
                names.append((pathlib.Path(path) / file).relative_to(root).as_posix())
    if not names:
        raise BadInput(f"there are no images below {folder} ({', '.join(sorted(SUFFIXES))})")
    return sorted(names)


def rows(folder: str, names: Sequence[str], embed: Embed, batch_size: int) -> Iterator[Array]:
    """The embeddings of the images, a batch at a time. Images that cannot be
    read are counted and named when all were looked at."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise BadInput("Pillow is not installed, which reads images: pip install 'nextbatch[images]'") from None
    broken: List[str] = []
    for start in range(0, len(names), batch_size):
        loaded = []
        for name in names[start : start + batch_size]:
            try:
                with Image.open(pathlib.Path(folder) / name) as image:
                    loaded.append(image.convert("RGB"))
            except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as e:
                broken.append(f"{name} ({e})")
        if not broken:
            yield embed(loaded)
    if broken:
        raise BadInput(f"{len(broken)} of {len(names)} images cannot be read: {', '.join(broken[:3])}{', …' if len(broken) > 3 else ''}")


def pixels(loaded: Sequence[Any]) -> Array:
    """Each image as SIDE x SIDE colors of 0 to 1: coarse, but it needs no model."""
    from PIL import Image

    small = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype="float32") for image in loaded]
    return (np.stack(small) / 255).reshape(len(small), -1)


def load(model: str, weights: Optional[str], device: Optional[str]) -> Tuple[str, Embed]:
    """The model's name and what embeds images with it: pixels, a model of
    torchvision, or with timm: one of timm. weights is a file with a state
    dictionary; without it the model's own pretrained weights are downloaded."""
    if model == "pixels":
        if weights:
            raise BadInput("model=pixels has no weights")
        return model, pixels
    library, name = model.split(":", 1) if ":" in model else ("torchvision", model)
    if library not in ("torchvision", "timm"):
        raise BadInput(f"model={model}: want pixels, a model of torchvision, or timm:name")
    try:
        import torch

        network, transform = _timm(name, weights) if library == "timm" else _torchvision(name, weights)
    except ImportError as e:
        extra = "torch" if library == "torchvision" else "timm"
        raise BadInput(f"{e.name} is not installed, which model={model} needs: pip install 'nextbatch[{extra}]', or use model=pixels") from None
    except OSError as e:
        raise BadInput(f"cannot download the weights of {name}: {e}; give weights=, a file") from e
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network.eval().to(where)

    def embed(loaded: Sequence[Any]) -> Array:
        with torch.no_grad():
            output: Array = network(torch.stack([transform(image) for image in loaded]).to(where)).flatten(1).float().cpu().numpy()
        return output

    return name, embed


def _timm(name: str, weights: Optional[str]) -> Tuple[Any, Any]:
    import timm

    if not timm.is_model(name):
        raise BadInput(f"timm has no model {name!r}")
    network = timm.create_model(name, pretrained=weights is None, num_classes=0)
    if weights:
        _fill(network, weights, ("head.", "fc.", "classifier."))
    config = timm.data.resolve_model_data_config(network)
    return network, timm.data.create_transform(**config, is_training=False)


def _torchvision(name: str, weights: Optional[str]) -> Tuple[Any, Any]:
    import torch
    from torchvision import models

    try:
        chosen = models.get_model_weights(name).DEFAULT
    except (ValueError, AttributeError):
        raise BadInput(f"torchvision has no model {name!r} with weights") from None
    network = models.get_model(name, weights=None if weights else chosen)
    for head in ("fc", "classifier", "heads", "head"):
        if hasattr(network, head):
            setattr(network, head, torch.nn.Identity())
            break
    else:
        raise BadInput(f"cannot tell the head of {name!r} of torchvision: use timm:{name}")
    if weights:
        _fill(network, weights, (head + ".",))
    return network, chosen.transforms()


def _fill(network: Any, weights: str, heads: Tuple[str, ...]) -> None:
    """Loads a state dictionary, whose head is left out: it was taken off."""
    import torch

    try:
        if weights.endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(weights)
        else:  # weights_only: to unpickle anything else is to run it
            state = torch.load(weights, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
    except ImportError:
        raise
    except Exception as e:  # each library has its own
        raise BadInput(f"{weights} holds no state dictionary that can be read: {e}") from e
    try:
        network.load_state_dict({key: value for key, value in state.items() if not key.startswith(heads)})
    except RuntimeError as e:
        raise BadInput(f"the weights in {weights} are not of this model: {str(e)[:300]} …") from e
