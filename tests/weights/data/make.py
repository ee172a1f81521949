"""Writes the files of this folder with torch, and what torch itself finds in them; needs torch and numpy only.

    python tests/weights/data/make.py

checkpoint.pth  a training's file: every dtype, views, shared storages, options, an optimizer, a schedule, numpy scalars
wrapped.pth     a state dict with the prefix module. under model_state_dict, without pickled options
old.pth         the format before torch 1.6
expected.npz    name -> numbers of the state dict of checkpoint.pth (bfloat16 as float32), and "dtypes"

The files here were written by torch 2.13.0 with numpy 2.4.6.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent
DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


def state_dict() -> dict[str, torch.Tensor]:
    """One tensor of every dtype, and every way in which a tensor can lie in its storage."""
    state = {f"dtype.{name}": torch.arange(-2, 4).reshape(2, 3).to(getattr(torch, name)) for name in DTYPES}
    row = torch.arange(24, dtype=torch.float32)
    return state | {
        "view.transposed": row[:6].reshape(2, 3).T,
        "view.offset": row[5:9],
        "view.strided": row.reshape(4, 6)[1:3, ::2],
        "view.channels_last": row.reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "view.shared": row,
        "parameter": torch.nn.Parameter(torch.tensor([1.5, -2.5])),
        "counter": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


def main() -> None:
    model = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(model.weight, 0.5)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule.step()

    state = state_dict()
    options = argparse.Namespace(lr=1e-4, names=["a", "b"], backbone=argparse.Namespace(name="resnet50"))
    content = {
        "model": state,
        "ema_model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "epoch": 3,
        "args": options,
        "best": np.float64(0.75),
        "history": np.arange(3, dtype=np.float32),
        "shape": torch.Size([2, 3]),
    }
    torch.save(content, FOLDER / "checkpoint.pth")
    wrapped = {f"module.{name}": x for name, x in model.state_dict().items()}
    torch.save({"epoch": 77, "train_loss": 0.5, "model_state_dict": wrapped, "amp": {}}, FOLDER / "wrapped.pth")
    torch.save({"model": model.state_dict()}, FOLDER / "old.pth", _use_new_zipfile_serialization=False)
    expected = {name: x.detach() for name, x in state.items()}
    numbers = {name: (x.float() if x.dtype is torch.bfloat16 else x).numpy() for name, x in expected.items()}
    dtypes = [str(x.dtype).removeprefix("torch.") for x in expected.values()]
    np.savez_compressed(FOLDER / "expected.npz", dtypes=dtypes, **numbers)


if __name__ == "__main__":
    main()
