"""Finds goldens, reads what each says it is, and builds the model it asks for.

`QUERYPOSE_GOLDEN` names a folder; without it the small goldens kept beside this file prove what they can.
"""

import functools
import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from configs import querypose
from kernels.roi_align.sampling import SAMPLES
from querypose_jax.backbones.fpn import PYRAMID_STRIDES
from querypose_jax.inference.results import to_coco_results
from querypose_jax.layers.layouts import NameMap
from querypose_jax.models.querypose.model import QueryPose
from querypose_jax.models.querypose.params import head_names
from querypose_jax.skeletons import Skeleton, skeleton_from_parts
from querypose_jax.structures import Batch, Poses

WRITTEN = 6e-4  # pixels that rounding to three decimals may take
KEPT = Path(__file__).parent / "golden"
FOLDER = Path(os.environ.get("QUERYPOSE_GOLDEN") or KEPT)

# The goldens' names of hyper-parameters -> ours.
MODEL_KEYS = {
    "num_classes": "num_classes",
    "num_proposals": "num_proposals",
    "stages": "stages",
    "dim": "dim",
    "nheads": "heads",
    "ffn": "ffn_dim",
    "num_cls": "class_layers",
    "num_reg": "box_layers",
    "dim_dynamic": "dynamic_dim",
    "part_dim": "part_dim",
    "num_convs": "pose_convs",
    "light": "light",
    "box_res": "box_roi",
    "pose_res": "pose_roi",
    "flow_layers": "flow_couplings",
    "flow_hidden": "flow_dim",
    "carry_query_at_test": "carry_query_at_test",
}
LOSS_KEYS = {
    "alpha": "focal_alpha",
    "gamma": "focal_gamma",
    "w_cls": "class_weight",
    "w_l1": "l1_weight",
    "w_giou": "giou_weight",
    "w_kps": "keypoint_weight",
}

# For tests that compile long: float64 shows parity in the fast tier, float32 beside it takes as long again.
float32_is_slow = pytest.mark.parametrize(
    "dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)], indirect=True
)


class Golden:
    """One npz file: `meta` and the arrays."""

    def __init__(self, path: Path):
        self.path = path
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays = dict(arrays)
        self.meta = json.loads(str(self.arrays["meta"]))

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def get(self, key: str, default: np.ndarray) -> np.ndarray:
        return self.arrays.get(key, default)

    def names(self, prefix: str = "") -> list[str]:
        return [key for key in self.arrays if key.startswith(prefix)]


def files(kind: str, **meta) -> list:
    """pytest parameters: every npz of the folder whose meta has this kind and these values, by name."""
    wanted = {"kind": kind, **meta}
    found = [path for path, info in metas().items() if wanted.items() <= info.items()]
    return by_name(found, f"golden of kind {kind}")


def by_name(paths: Iterable[Path], what: str) -> list:
    """pytest parameters of these paths; where there is none, one that is skipped and says so."""
    skip = pytest.mark.skip(reason=f"no {what} in {FOLDER.name}/")
    return [pytest.param(path, id=path.stem) for path in paths] or [pytest.param(None, id="none", marks=skip)]


def head_files(kind: str, is_slow: Callable[[dict], bool]) -> list:
    """`files` of a kind of head golden; those whose hyper-parameters fulfil `is_slow` are marked slow."""
    marked = []
    for parameter in files(kind):
        path = parameter.values[0]
        slow = path is not None and is_slow(metas()[path]["config"])
        marked.append(pytest.param(path, id=parameter.id, marks=[*parameter.marks, *[pytest.mark.slow] * slow]))
    return marked


@functools.cache
def metas() -> dict[Path, dict]:
    """What each npz of the folder says it is; files that do not say it are left out."""
    found = {}
    for path in sorted(FOLDER.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            if "meta" in arrays:
                found[path] = json.loads(str(arrays["meta"]))
    return found


@functools.cache
def weights():
    """The goldens' own generator of weights and features (numpy only), or the one kept here if they bring none."""
    own = FOLDER / "weights.py"
    spec = importlib.util.spec_from_file_location("golden_weights", own if own.exists() else KEPT / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def experiment(golden: Golden, dtype: str) -> tuple[ConfigDict, Skeleton]:
    """config.model and skeleton that a head golden's meta asks for."""
    return model_config(golden.meta["config"], dtype)


def model_config(theirs: dict, dtype: str) -> tuple[ConfigDict, Skeleton]:
    """config.model and skeleton from the hyper-parameters of a golden or a manifest.

    Skips the test where they ask for what our model has as constants.
    """
    for key, ours in (("strides", list(PYRAMID_STRIDES)), ("sampling", SAMPLES)):
        if theirs.get(key, ours) != ours:
            pytest.skip(f"{key} {theirs[key]}: this model has {ours}")
    config = querypose.get_config().model
    config.dtype = dtype
    for key, ours in MODEL_KEYS.items():
        config[ours] = theirs[key]
    for key, ours in LOSS_KEYS.items():
        config.loss[ours] = theirs[key]
    config.backbone.update(name="small", width=config.dim)  # not part of the golden
    return config, skeleton_from_parts(theirs["parts"])


def generated(names: NameMap, shapes: dict, tag: str, dtype: str) -> Iterator:
    """(our path, array) with the generated official weights for every path of `shapes`."""
    for path, shape in shapes.items():
        parts = names[path].to_official(np.zeros(shape, np.int8))
        made = [weights().make(name, part.shape, tag) for name, part in zip(names[path].names, parts, strict=True)]
        yield path, jnp.asarray(names[path].to_ours(made).astype(dtype))


def head(golden: Golden, dtype: str) -> nnx.Module:
    """A QueryPose without backbone, with the golden's generated weights."""
    config, skeleton = experiment(golden, dtype)

    def build():
        model = QueryPose(config, skeleton, pictures_per_group=0, rngs=nnx.Rngs(0))
        del model.backbone
        return model

    abstract = nnx.eval_shape(build)
    return fill(abstract, head_names(config, skeleton), golden.meta["weights_tag"], dtype)


def fill(abstract: nnx.Module, names: NameMap, tag: str, dtype: str) -> nnx.Module:
    """The abstract module with generated weights in place of its shapes."""
    graphdef, state = nnx.split(abstract)
    flat = dict(nnx.to_flat_state(state))
    arrays = generated(names, {path: leaf.shape for path, leaf in flat.items()}, tag, dtype)
    filled = [(path, flat[path].replace(array)) for path, array in arrays]
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def written_keypoints(poses: Poses) -> np.ndarray:
    """x, y of all valid people as `to_coco` writes them, picture by picture: [people, K, 2]."""
    poses = jax.device_get(poses)
    pictures, classes = len(poses.scores), int(poses.labels.max(initial=0)) + 1
    results = to_coco_results(poses, range(1, pictures + 1), range(1, classes + 1))
    return np.array([result["keypoints"] for result in results]).reshape(len(results), -1, 3)[..., :2]


def pyramid(golden: Golden, dtype: str) -> list:
    """The golden's features P2..P5, NHWC."""
    height, width = golden["padded_size"]
    batch, dim = len(golden["image_sizes"]), golden.meta["config"]["dim"]
    prefix = golden.meta["features"]
    maps = [
        weights().feature(f"{prefix}:p{level}", (batch, dim, height >> level, width >> level)) for level in (2, 3, 4, 5)
    ]
    return [jnp.asarray(x.transpose(0, 2, 3, 1).astype(dtype)) for x in maps]


def batch(golden: Golden, dtype: str) -> Batch:
    """The golden's pictures (sizes only) and people."""
    sizes = golden["image_sizes"]
    output = golden.get("output_sizes", sizes)
    people = golden.get("gt_count", np.zeros(len(sizes), int))
    boxes = golden.get("gt_boxes", np.zeros((len(sizes), 0, 4)))
    keypoints = golden.get("gt_keypoints", np.zeros((*boxes.shape[:2], golden.meta["joints"], 3)))
    return people_batch(sizes, output, people, boxes, keypoints, dtype)


def people_batch(sizes, output_sizes, people, boxes, keypoints, dtype: str) -> Batch:
    """A batch without pixels: h, w of the pictures on the canvas and in their files [B, 2], people per picture [B],
    their boxes [B, G, 4] and keypoints [B, G, K, 3]. At least one slot, also where nobody is on any picture."""
    count, slots = boxes.shape[:2]
    missing = ((0, 0), (0, max(1 - slots, 0)))
    boxes, keypoints = np.pad(boxes, (*missing, (0, 0))), np.pad(keypoints, (*missing, (0, 0), (0, 0)))
    slots = boxes.shape[1]
    affine = np.zeros((count, 2, 3))
    affine[:, 0, 0], affine[:, 1, 1] = (output_sizes / sizes)[:, 1], (output_sizes / sizes)[:, 0]
    made = Batch(
        image=np.zeros((count, 1, 1, 3), np.uint8),
        valid_size=sizes.astype(np.int32),
        orig_size=output_sizes.astype(np.int32),
        image_id=np.arange(count, dtype=np.int32),
        inv_affine=affine.astype(dtype),
        boxes=boxes.astype(dtype),
        keypoints=keypoints.astype(dtype),
        area=np.zeros((count, slots), dtype),
        label=np.zeros((count, slots), np.int32),
        is_person=np.arange(slots) < people[:, None],
    )
    return jax.tree.map(jnp.asarray, made)


def by_row(x: np.ndarray) -> np.ndarray:
    """[S, 1, R, ...] of one shard -> [S, R, ...]."""
    assert x.shape[1] == 1
    return x[:, 0]


def assert_close(actual, expected, absolute: float = 0.0, relative: float = 0.0, what: str = "") -> float:
    """max |a - b| <= absolute + relative * max |b|. Returns the difference."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} instead of {expected.shape}"
    difference = np.abs(actual - expected).max(initial=0)
    limit = absolute + relative * np.abs(expected).max(initial=0)
    assert difference <= limit, f"{what}: differs by {difference:.3g}, allowed {limit:.3g}"
    return float(difference)


def relative_l2(actual, expected, floor: float = 1e-30) -> float:
    """|a - b| / |b|, with `floor` for a smaller |b|."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape} instead of {expected.shape}"
    return float(np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), floor))


def assert_same_indices(actual, expected, nowhere: int) -> None:
    """Indices [..., G] equal; what is -1 in the golden is `nowhere` here, and so are slots it does not have."""
    actual = np.asarray(actual)
    slots = expected.shape[-1]
    assert np.array_equal(actual[..., :slots], np.where(expected >= 0, expected, nowhere))
    assert (actual[..., slots:] == nowhere).all()
