# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # From nothing to an exported model
#
# Runs on a CPU in a few minutes and downloads nothing: people are drawn. As a script, from any folder:
# `PYTHONPATH=/path/to/querypose_jax python /path/to/querypose_jax/docs/notebook.py`. `docs/notebook.ipynb` has the same
# cells (`scripts/make_notebook.py` writes it): `PYTHONPATH=$PWD jupyter lab docs/notebook.ipynb` from the clone, or
# Colab, which needs the clone beside it.
#
# All files are written to the folder `notebook` beside it.

# %%
from pathlib import Path

import numpy as np
from PIL import Image

import launch
from configs import synthetic_tiny
from input_pipeline.loader import open_split
from querypose_jax import Predictor, draw_attention, draw_stages, explain_picture, export_model
from querypose_jax.inference.exported import Exported

OUTPUT = Path("notebook")
RUN = OUTPUT / "run"  # put the path of a trained run here, say "../runs/demo" after `make demo`, and nothing is trained
SMALL = {"train_pictures": 200, "val_pictures": 16}


def show(picture: Image.Image, name: str) -> Image.Image:
    """Writes a picture; a notebook shows what a cell returns."""
    picture.save(OUTPUT / name)
    return picture


# %% [markdown]
# ## Train
#
# The same as `python launch.py --config=configs/synthetic_tiny.py --workdir=...`, on fewer pictures and for 40 of the
# 3,000 steps: enough to see every part work, far too few to find anybody. It ends with an evaluation.

# %%
if not (RUN / "checkpoints").is_dir():
    small = [f"--config.data.synthetic.{name}={count}" for name, count in SMALL.items()]
    steps = ["--config.train.num_steps=40", "--config.train.log_every=10", "--config.optimizer.warmup_steps=10"]
    prepared = f"--config.data.prepared={OUTPUT / 'data'}"
    config_file = f"--config={synthetic_tiny.__file__}"
    code = launch.main(["launch.py", config_file, f"--workdir={RUN}", prepared, *small, *steps])
    if code != 0:
        raise SystemExit(code)

# %% [markdown]
# ## Predict and draw
#
# A picture of the validation split. After 40 steps all scores are low, so the three best of the 20 queries are shown
# whatever their score; a trained model is asked with the default threshold of 0.3. Blue is left, orange is right,
# faint joints are unsure, ellipses show the predicted scale of the error.

# %%
config = synthetic_tiny.get_config()
config.data.prepared = str(OUTPUT / "data")
config.data.synthetic.update(SMALL)
photo = open_split(config, "val").read(0)  # bytes of a file; a path does as well

predictor = Predictor.from_checkpoint(RUN)
scores = predictor(photo, threshold=0).scores
threshold = min(0.3, float(scores[2]))
people = predictor(photo, threshold)
print(f"{len(people)} people, scores {people.scores.round(3)}")
show(people.draw(), "poses.png")

# %% [markdown]
# People as rows of a table, and in COCO's results format:

# %%
print(list(people.to_rows()[0])[:9])
print(people.to_coco(image_id=1)[0]["bbox"])

# %% [markdown]
# ## Look inside
#
# The same queries at every stage of the cascade: boxes and poses are refined.

# %%
inside = explain_picture(predictor, photo, threshold)
show(draw_stages(inside), "stages.png")

# %% [markdown]
# Where each of the seven body parts looks inside the box of a person (a row per person, a column per part):

# %%
show(draw_attention(inside, num_people=3), "attention.png")

# %% [markdown]
# ## Export
#
# Programs, weights and a loader that needs only jax and numpy. The folder can be copied anywhere.

# %%
folder = export_model(predictor, OUTPUT / "exported", canvases=[(160, 192)], platforms=["cpu"])
exported = Exported(folder)
found = exported(np.asarray(people.picture), threshold)
print(sorted(path.name for path in folder.iterdir()))

# %%
difference = np.abs(found["keypoints"][0] - people.keypoints[0]).max()
print(f"exported programs and the model agree to {difference:.1e} pixels")
