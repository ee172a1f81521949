"""All rows of the report, the small ones first; each is measured in a process of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from querypose_jax.bench.gpu import ceilings, correct, kernels, models
from querypose_jax.bench.gpu.sheet import CEILINGS, Sheet

DETERMINISTIC = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}  # see kernels.determinism
SQUARE = (512, 512)  # SimplePose V2's canvas, pixels


@dataclass(frozen=True)
class Row:
    """A part of the report."""

    fill: Callable[[Sheet], None]
    limit_s: float
    """Seconds it may have the device; then it is ended."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to its process."""


ROWS: dict[str, Row] = {
    CEILINGS: Row(ceilings.ceilings, 60),
    "RoIAlign is right": Row(correct.roi_align_is_right, 90),
    "deformable attention is right": Row(correct.deformable_attention_is_right, 90),
    "RoIAlign": Row(kernels.roi_align_times, 90),
    "deformable attention, encoder": Row(partial(kernels.attention_times, case="encoder"), 120),
    "deformable attention, decoder": Row(partial(kernels.attention_times, case="decoder"), 90),
    "querypose, inference": Row(partial(models.inference, module="configs.coco_r50"), 200),
    "grouppose, inference": Row(partial(models.inference, module="configs.grouppose.coco_r50"), 150),
    "simplepose, inference": Row(
        partial(models.inference, module="configs.simplepose.coco_hourglass104", canvas=SQUARE), 150
    ),
    "edpose, inference": Row(partial(models.inference, module="configs.edpose.coco_r50"), 150),
    "deterministic gradients": Row(kernels.deterministic_times, 90, DETERMINISTIC),
    "grouppose, training": Row(partial(models.training_step, module="configs.grouppose.coco_r50", pictures=2), 200),
    "querypose, training": Row(partial(models.training_step, module="configs.coco_r50", pictures=4), 200),
    "edpose, training": Row(partial(models.training_step, module="configs.edpose.coco_r50", pictures=2), 200),
    "simplepose, training": Row(
        partial(models.training_step, module="configs.simplepose.coco_hourglass104", canvas=SQUARE), 200
    ),
    "deformable attention, encoder, float32": Row(
        partial(kernels.attention_times, case="encoder", dtype="float32", in_many_shapes=False), 90
    ),
    "deformable attention, decoder, float32": Row(
        partial(kernels.attention_times, case="decoder", dtype="float32", in_many_shapes=False), 90
    ),
    "RoIAlign, float32": Row(partial(kernels.roi_align_times, dtype="float32"), 90),
}
