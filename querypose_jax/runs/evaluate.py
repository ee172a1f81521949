"""The verb eval: a checkpoint, or the state of a training run, on a split of the data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict
from tqdm import tqdm

from input_pipeline.batching import evaluated_rows
from input_pipeline.loader import eval_batches, open_split
from querypose_jax.checkpoints.checkpoint import find_step, has_averages, load_model
from querypose_jax.checkpoints.names import Names, check_same_names, saved_names
from querypose_jax.checkpoints.results import NAME, evaluation_folder
from querypose_jax.devices.distributed import process_share, together
from querypose_jax.devices.preemption import never, stop_between
from querypose_jax.devices.sharding import make_mesh, put_batch, replicated, whole
from querypose_jax.errors import UserError
from querypose_jax.evaluation import runner
from querypose_jax.evaluation.coco import get_scorer
from querypose_jax.evaluation.gather import gathering
from querypose_jax.evaluation.report import tables
from querypose_jax.evaluation.scoring import Scoring
from querypose_jax.evaluation.submission import write_submission
from querypose_jax.files import write_json
from querypose_jax.inference.predict import make_predict
from querypose_jax.models.base import Wanted
from querypose_jax.models.registry import abstract_model, family_of
from querypose_jax.skeletons import get_skeleton
from querypose_jax.training.loop import Evaluate

MOST_SCORED = 20  # detections of a picture that COCO's keypoint protocol looks at
RAW = "raw"  # prefix and folder of what parameters without averaging give


def evaluate(config: ConfigDict, workdir: Path, step: int | None = None) -> None:
    """Evaluates one checkpoint, the newest by default.

    Raises:
        UserError: no such checkpoint, or data that cannot be read.
    """
    step = find_step(workdir, step)
    names = saved_names(workdir, step)
    if names:
        check_same_names(workdir, names, names._replace(joints=get_skeleton(config.data.skeleton).names))
    evaluate_step = make_evaluate(config, workdir, names=names)
    place = replicated(make_mesh(config.mesh))
    model, raw = load_model(workdir, step, config, place)[2], None
    if config.eval.raw and has_averages(workdir, step):
        raw = load_model(workdir, step, config, place, raw=True)[2]
    with together():
        evaluate_step(model, step, raw)


def make_evaluate(
    config: ConfigDict, workdir: Path, stop: Callable[[], bool] = never, names: Names | None = None
) -> Evaluate:
    """`evaluate(model, step, raw)`: writes into `evaluation_folder`, prints the table and where the pictures are.

    With eval.raw the raw model is evaluated first, into a folder of its own: metrics.json of the step comes last. A
    split without annotations gets the file for the server instead. Between two batches it raises preemption.Stopped
    once `stop()` says so. Labels are those of `names`, whatever the order of the classes in the split's own file.
    """
    mesh = make_mesh(config.mesh)
    graphdef, abstract = abstract_model(config)
    rescorings = family_of(config).rescorings(config)
    leaves_out = config.eval.prune and not config.eval.flip and not rescorings
    leaves_out = leaves_out and nnx.merge(graphdef, abstract).leaves_out
    wanted = Wanted(best=MOST_SCORED) if leaves_out else None
    is_crowdpose = config.data.name == "crowdpose"
    scoring = Scoring(is_crowdpose, rescorings, get_scorer(config.eval.scorer), are_all_there=not leaves_out)
    split_name = config.eval.split or config.data.eval_split
    split = open_split(config, split_name, names.classes if names else ())
    if not split.is_labelled and config.eval.image_filter != "all":
        raise UserError(f"config.eval.image_filter: the split {split_name!r} does not say who is on its pictures")
    num_pictures = len(evaluated_rows(split.annotations, config))
    chosen = about_pictures(config, num_pictures, split.annotations.num_pictures)
    skeleton = get_skeleton(config.data.skeleton)
    predict = make_predict(graphdef, config.eval.flip)
    drawn = {"num_drawn": config.eval.num_drawn, "draw_threshold": config.eval.draw_threshold}

    def evaluate_into(folder: Path, model: nnx.State, step: int) -> dict[str, float]:
        with jax.set_mesh(mesh):
            state = whole(model, mesh)
            find = gathering(lambda batch: predict(state, batch, wanted), mesh)
            batches = stop_between(stop, eval_batches(config, split, shards=mesh.size, **process_share()))
            given: Any = (lambda batch: find(put_batch(batch, mesh)), batches, split.ground_truth(), skeleton)
            if split.is_labelled:
                metrics = runner.evaluate(*given, folder, **drawn, num_pictures=num_pictures, scoring=scoring)
            else:
                _, detections = runner.detect(
                    *given, runner.Drawing(folder, *drawn.values()), num_pictures=num_pictures
                )
                metrics = {}
        if jax.process_index() == 0 and not split.is_labelled:
            path = write_submission(detections, folder, split_name, config.model.name)
            tqdm.write(f"\nstep {step}: {path} is for the evaluation server")
        return metrics

    def evaluate_step(model: nnx.State, step: int, raw: nnx.State | None = None) -> dict[str, float]:
        folder = evaluation_folder(config, workdir, step)
        of_raw = evaluate_into(folder / RAW, raw, step) if config.eval.raw and raw is not None else {}
        metrics = evaluate_into(folder, model, step) | {f"{RAW}/{name}": value for name, value in of_raw.items()}
        if jax.process_index() == 0 and metrics:
            if of_raw:
                write_json(folder / NAME, metrics, indent=2)
            report(folder, step, metrics, chosen)
        return metrics

    return evaluate_step


def about_pictures(config: ConfigDict, chosen: int, there: int) -> str:
    """A line for the table where eval.image_filter leaves out pictures, or ""."""
    if config.eval.image_filter == "all":
        return ""
    return f"eval.image_filter={config.eval.image_filter}: {chosen} of {there} pictures; not comparable with all\n"


def report(folder: Path, step: int, metrics: dict[str, float], chosen: str = "") -> None:
    """Prints the tables of an evaluated step, which pictures they are of, and where those are drawn."""
    tqdm.write(
        f"\nstep {step}\n{chosen}{tables(folder, metrics)}\npictures with predicted poses: {folder / 'pictures'}"
    )
