"""What happens to pictures and people on the way in, a file for each recipe (`config.data.recipe`)."""

from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.recipes import affine, detr, querypose
from querypose_jax.recipes.augment import augmented, is_on
from querypose_jax.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {"querypose": querypose.RECIPE, "detr": detr.RECIPE, "affine": affine.RECIPE}


def get_recipe(name: str) -> Recipe:
    """The recipe that `config.data.recipe` names; raises UserError for an unknown one."""
    if name not in RECIPES:
        raise UserError(f"config.data.recipe={name!r} is unknown; known: {', '.join(RECIPES)}")
    return RECIPES[name]


def recipe_of(data: ConfigDict) -> Recipe:
    """The recipe of `config.data`, with the augmentation beyond its own that `data.augment` asks for."""
    recipe = get_recipe(data.recipe)
    return augmented(recipe, data.augment) if is_on(data.augment) else recipe
