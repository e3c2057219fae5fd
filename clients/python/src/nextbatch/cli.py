"""The command nextbatch."""

import argparse
import re
import sys
import time
from typing import Any, Dict, List, Optional

import numpy as np

from . import embed
from ._checks import BadInput
from ._selection import SelectionFailed
from .client import Client

EXAMPLE = "example: nextbatch embed input_dir=photos dataset=clothing model=resnet18"


def main(argv: Optional[List[str]] = None) -> int:
    """Runs the command and returns its exit code. Settings may be written
    key=value, as for lightly-magic, or --key value."""
    given = sys.argv[1:] if argv is None else argv
    given = [re.sub(r"^([a-z_]+)=", lambda m: f"--{m[1]}=", word) for word in given]
    options = _parser().parse_args(given)
    try:
        _embed(options)
    except (BadInput, ConnectionError, SelectionFailed, TimeoutError) as e:
        print(f"nextbatch: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nextbatch", description="active learning: which images should be labeled next", epilog=EXAMPLE)
    commands = parser.add_subparsers(required=True)
    e = commands.add_parser("embed", help="embed the images below a folder and publish the embeddings", epilog=EXAMPLE)
    e.add_argument("--input_dir", required=True, help="folder of images; their names are relative to it")
    e.add_argument("--dataset", required=True, help="dataset to make, or to add to")
    e.add_argument("--model", default="resnet18", help="a model of torchvision (default resnet18), timm:name, or pixels, which needs no torch")
    e.add_argument("--weights", help="file with the model's state dictionary; default: its pretrained weights, downloaded")
    e.add_argument("--device", help="default cuda where there is one, else cpu")
    e.add_argument("--batch_size", type=int, default=32, help="images at a time (default 32)")
    e.add_argument("--embedding", help="name of this set of embeddings (default: default)")
    e.add_argument("--select", type=int, help="also ask for a first batch of so many images")
    e.add_argument("--url", help="NATS server; default $AL_NATS_URL, or what nextbatch-data/nats/nats.url says")
    e.add_argument("--folder", help="put the array into this folder, not into the object store")
    return parser


def _embed(options: argparse.Namespace) -> None:
    if options.batch_size < 1:
        raise BadInput(f"batch_size is {options.batch_size}, want at least 1")
    names = embed.images(options.input_dir)
    model, run = embed.load(options.model, options.weights, options.device)
    selection: Optional[Dict[str, Any]] = None
    if options.select is not None:
        selection = {"method": "CORESET", "batch_size": options.select, "embedding": options.embedding or "default"}
    with Client(options.url, source="/nextbatch/embed", folder=options.folder) as client:  # connected before the long work
        blocks = []
        progress = Progress(len(names))
        for block in embed.rows(options.input_dir, names, run, options.batch_size):
            blocks.append(block)
            progress.add(len(block))
        event = client.publish_embeddings(
            options.dataset, names, np.concatenate(blocks), embedding=options.embedding, selection=selection
        )
        print(f"{len(names)} embeddings of {model}, {blocks[0].shape[1]} numbers each, published for {options.dataset}", file=sys.stderr)
        if selection is not None:
            print("\n".join(client.wait_for_selection(event).filenames))


class Progress:
    """A line on stderr that says how far it is: redrawn on a terminal, a new one
    at every tenth elsewhere."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began, self.drawn = total, 0, time.monotonic(), 0

    def add(self, n: int) -> None:
        self.done += n
        terminal = sys.stderr.isatty()
        if not terminal and self.done < self.total and (self.done - self.drawn) * 10 < self.total:
            return
        self.drawn = self.done
        part = self.done / self.total
        left = (time.monotonic() - self.began) * (1 - part) / part
        bar = ("#" * int(part * 30)).ljust(30, ".")
        end = "" if terminal and self.done < self.total else "\n"
        print(f"{chr(13) if terminal else ''}[{bar}] {self.done}/{self.total} images, {left:.0f} s left ", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
