"""All rows of the report, the small ones first; each is measured in a process of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from querypose_jax.bench.gpu import ceilings, correct, kernels, matching, models, resuming
from querypose_jax.bench.gpu.sheet import CEILINGS, Sheet

DETERMINISTIC = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}  # see kernels.determinism
SQUARE = (512, 512)  # SimplePose V2's canvas, pixels
FULL_SIZE = {  # module of the configuration, canvas; None: as of the sheet
    "querypose": ("configs.coco_r50", None),
    "grouppose": ("configs.grouppose.coco_r50", None),
    "edpose": ("configs.edpose.coco_r50", None),
    "simplepose": ("configs.simplepose.coco_hourglass104", SQUARE),
}


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
    "deterministic gradients": Row(kernels.deterministic_times, 60, DETERMINISTIC),
    "querypose, inference": Row(partial(models.inference, module="configs.coco_r50"), 100),
    "grouppose, inference": Row(partial(models.inference, module="configs.grouppose.coco_r50"), 100),
    "simplepose, inference": Row(
        partial(models.inference, module="configs.simplepose.coco_hourglass104", canvas=SQUARE), 100
    ),
    "edpose, inference": Row(partial(models.inference, module="configs.edpose.coco_r50"), 100),
    "querypose, training": Row(partial(models.training_step, module="configs.coco_r50", pictures=4), 100),
    "grouppose, training": Row(partial(models.training_step, module="configs.grouppose.coco_r50", pictures=2), 100),
    "edpose, training": Row(partial(models.training_step, module="configs.edpose.coco_r50", pictures=2), 100),
    "simplepose, training": Row(
        partial(models.training_step, module="configs.simplepose.coco_hourglass104", canvas=SQUARE), 100
    ),
    "deformable attention, encoder, float32": Row(
        partial(kernels.attention_times, case="encoder", dtype="float32", in_many_shapes=False), 90
    ),
    "deformable attention, decoder, float32": Row(
        partial(kernels.attention_times, case="decoder", dtype="float32", in_many_shapes=False), 90
    ),
    "RoIAlign, float32": Row(partial(kernels.roi_align_times, dtype="float32"), 90),
    "matching": Row(matching.matching_times, 60),
    "resumed to the bit": Row(resuming.resumes_to_the_bit, 60, DETERMINISTIC),
    "querypose, training, matched on the device": Row(
        partial(models.training_step, module="configs.coco_r50", pictures=4, solver="device"), 100
    ),
    **{
        f"{family}, inference beside torch.compile": Row(
            partial(models.inference, module=module, canvas=canvas, ways=models.COMPILED), 100
        )
        for family, (module, canvas) in FULL_SIZE.items()
    },
    **{
        f"{family}, inference, one picture": Row(
            partial(models.inference, module=module, canvas=canvas, pictures=1, ways=models.EAGER[1:]), 100
        )
        for family, (module, canvas) in FULL_SIZE.items()
    },
}
