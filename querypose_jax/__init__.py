"""End-to-end multi-person pose estimation in JAX and Flax NNX.

Names are imported when they are first used (PEP 562), so that `import querypose_jax` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from querypose_jax.errors import UserError
    from querypose_jax.inference.draw import draw_poses
    from querypose_jax.inference.export import export_model
    from querypose_jax.inference.figures import draw_attention, draw_stages, explain_picture
    from querypose_jax.inference.joint_figures import draw_heatmap, draw_joining, draw_offsets
    from querypose_jax.inference.prediction import Prediction
    from querypose_jax.inference.predictor import Predictor
    from querypose_jax.pictures import PictureError
    from querypose_jax.runs.from_python import train
    from querypose_jax.skeletons import COCO, CROWDPOSE, Skeleton, get_skeleton
    from querypose_jax.structures import Batch, Poses
    from querypose_jax.training.callbacks import Callback

__version__ = "0.1.0"

_HOMES = {
    "UserError": "errors",
    "draw_poses": "inference.draw",
    "export_model": "inference.export",
    "draw_attention": "inference.figures",
    "draw_stages": "inference.figures",
    "explain_picture": "inference.figures",
    "draw_heatmap": "inference.joint_figures",
    "draw_joining": "inference.joint_figures",
    "draw_offsets": "inference.joint_figures",
    "Prediction": "inference.prediction",
    "Predictor": "inference.predictor",
    "PictureError": "pictures",
    "train": "runs.from_python",
    "COCO": "skeletons",
    "CROWDPOSE": "skeletons",
    "Skeleton": "skeletons",
    "get_skeleton": "skeletons",
    "Batch": "structures",
    "Poses": "structures",
    "Callback": "training.callbacks",
}

__all__ = [
    "COCO",
    "CROWDPOSE",
    "Batch",
    "Callback",
    "PictureError",
    "Poses",
    "Prediction",
    "Predictor",
    "Skeleton",
    "UserError",
    "draw_attention",
    "draw_heatmap",
    "draw_joining",
    "draw_offsets",
    "draw_poses",
    "draw_stages",
    "explain_picture",
    "export_model",
    "get_skeleton",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
