"""The poses of an ONNX export beside our own, on your pictures: distances, times, bytes.

    python scripts/compare_onnx.py --workdir=RUN [--rounds=3] PICTURES...
    python scripts/compare_onnx.py --weights=FILE PICTURES...
    python scripts/compare_onnx.py --config=grouppose.coco_r50 PICTURES...  # random weights: often nobody

Needs `pip install '.[onnx]'`. Both programs get the same canvas, so that distances and times are those of the programs;
`from the file` is the same with the pixels that the export's loader resizes by itself. A person of ours is compared
with the person of the export whose joints are nearest; a distance is that of one joint, pixels of the picture.
"""

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the script runs in a clone

from querypose_jax.bench.inference import without_zero_kernels  # noqa: E402
from querypose_jax.bench.timing import cores, ratio, table, take_turns  # noqa: E402
from querypose_jax.devices.process import prepare_process  # noqa: E402
from querypose_jax.errors import UserError  # noqa: E402
from querypose_jax.inference.batching import inference_batch  # noqa: E402
from querypose_jax.inference.export import export_model  # noqa: E402
from querypose_jax.inference.exported import ONNX_WEIGHTS, Exported  # noqa: E402
from querypose_jax.inference.predict import make_predict  # noqa: E402
from querypose_jax.inference.predictor import Predictor  # noqa: E402
from querypose_jax.models.registry import build_model, family_of  # noqa: E402
from querypose_jax.pictures import read_picture  # noqa: E402
from querypose_jax.skeletons import get_skeleton  # noqa: E402


def main(argv: list[str]) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--workdir", help="a run")
    chosen.add_argument("--weights", help="a file of known weights")
    chosen.add_argument("--config", help="module under configs/, e.g. grouppose.coco_r50: random weights")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program on each picture")
    parser.add_argument("pictures", nargs="+")
    options = parser.parse_args(argv)
    try:
        predictor = predictor_of(options)
        pictures = [read_picture(path) for path in options.pictures]
        with tempfile.TemporaryDirectory() as folder:
            canvases = sorted({predictor.canvas(picture.height, picture.width) for picture in pictures})
            export_model(predictor, folder, canvases, format="onnx")
            print(compared(predictor, Path(folder), [Path(path).name for path in options.pictures], pictures, options))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def predictor_of(options: argparse.Namespace) -> Predictor:
    """In float32, as ONNX computes."""
    if options.workdir:
        return Predictor.from_checkpoint(options.workdir, dtype="float32")
    if options.weights:
        return Predictor.from_weights(options.weights, dtype="float32")
    config = import_module(f"configs.{options.config}").get_config()
    config.update_from_flattened_dict(family_of(config).exported)
    graphdef, state = nnx.split(build_model(config, rngs=nnx.Rngs(0)))
    return Predictor(config, graphdef, without_zero_kernels(state), get_skeleton(config.data.skeleton))


def compared(
    predictor: Predictor, folder: Path, names: list[str], pictures: list[Image.Image], options: argparse.Namespace
) -> str:
    """The table and what there is to say about it."""
    import onnxruntime

    exported, (graphdef, state) = Exported(folder), nnx.split(predictor.model)
    predict = make_predict(graphdef)  # compiles once per canvas
    rows, distances, whole, times = [], [], [], []
    for name, picture in zip(names, pictures, strict=True):
        canvas = predictor.canvas(picture.height, picture.width)
        data, joints = predictor.config.data, predictor.skeleton.num_keypoints
        batch = inference_batch([picture], canvas, predictor.recipe, data, joints, 1)
        given = [np.asarray(x) for x in (batch.image, batch.valid_size, batch.orig_size, batch.inv_affine)]
        program = exported.program(1, canvas)
        sides = {
            "ours": lambda b=batch: jax.device_get(predict(state, b)),
            "onnx": lambda p=program, g=given: p(*g),
        }
        poses, found = sides["ours"](), sides["onnx"]()
        people, theirs = poses.keypoints[poses.valid], found["keypoints"][found["valid"]]
        distances.append(joint_distances(people, theirs))
        whole.append(joint_distances(people, exported(np.asarray(picture), threshold=0)["keypoints"]))
        taken = take_turns(sides, options.rounds)
        times.append(ratio(taken["onnx"], taken["ours"]))
        seconds = [f"{taken[side].median:.2f} s" for side in sides]
        size_of_canvas, counts = f"{canvas[0]} x {canvas[1]}", f"{len(people)}, {len(theirs)}"
        rows.append([name, size_of_canvas, counts, *shown(distances[-1]), *shown(whole[-1]), *seconds])
    head = ["picture", "canvas", "people", "median", "largest", "from the file", "largest", "ours", "onnxruntime"]
    pages = list(folder.glob("program_*"))
    (middle, most), (whole_middle, whole_most) = (shown(np.concatenate(parts)) for parts in (distances, whole))
    return "\n\n".join(
        [
            f"{predictor.config.model.name}, float32, {cores()} cores, jax {jax.__version__}, "
            f"onnxruntime {onnxruntime.__version__}",
            table(head, rows),
            f"All joints: median {middle} px, at most {most}; from the file {whole_middle}, at most {whole_most}. "
            f"onnxruntime takes {np.median(times):.2f} of our time (median over pictures). "
            f"{len(pages)} programs {size(pages):.1f} MiB, weights {size([folder / ONNX_WEIGHTS]):.1f} MiB.",
        ]
    )


def joint_distances(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Of every joint of ours to that of the nearest person of theirs, by the mean distance; inf where there is none."""
    if not len(ours) or not len(theirs):
        return np.full(ours.shape[:2], np.inf).ravel()
    far = np.linalg.norm(ours[:, None] - theirs, axis=-1)  # ours, theirs, joints
    return np.take_along_axis(far, far.mean(-1).argmin(1)[:, None, None], 1).ravel()


def size(files: list[Path]) -> float:
    """MiB of all of them."""
    return sum(path.stat().st_size for path in files) / 2**20


def shown(distances: np.ndarray) -> list[str]:
    """Median and maximum."""
    return [f"{np.median(distances):.1e}", f"{distances.max():.1e}"] if len(distances) else ["nobody", "nobody"]


if __name__ == "__main__":
    prepare_process()
    sys.exit(main(sys.argv[1:]))
