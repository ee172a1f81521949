"""From `config.model.name` to a family of models: the only place that names one. Imported when asked for."""

from importlib import import_module

from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.models.base import PoseModel
from querypose_jax.models.family import Family

FOLDERS = ("querypose", "edpose", "grouppose", "simplepose")
HOMES = {name: f"querypose_jax.models.{name}.family" for name in FOLDERS}  # each with a FAMILY
_registered: dict[str, Family] = {}


def register(name: str, family: Family) -> None:
    """Makes a family of one's own known to this process under a name that no other has.

    Raises:
        UserError: the name is taken.
    """
    if name in HOMES or _registered.get(name, family) is not family:
        raise UserError(f"a family {name!r} is there already; register yours under another name")
    _registered[name] = family


def names() -> list[str]:
    """Of all known families."""
    return [*HOMES, *_registered]


def get_family(name: str) -> Family:
    """The family of a name; raises UserError for an unknown one."""
    if name in _registered:
        return _registered[name]
    if name not in HOMES:
        raise UserError(f"config.model.name={name!r} is unknown; known: {', '.join(names())}")
    return import_module(HOMES[name]).FAMILY


def family_of(config: ConfigDict) -> Family:
    """The family that a configuration is for; raises UserError for an unknown one."""
    return get_family(config.model.name)


def build_model(config: ConfigDict, *, rngs: nnx.Rngs) -> PoseModel:
    """The model of a whole configuration, freshly initialised.

    Raises:
        UserError: unknown family, backbone or skeleton.
    """
    return family_of(config).build(config, rngs)


def abstract_model(config: ConfigDict) -> tuple[nnx.GraphDef, nnx.State]:
    """The structure of a model, and its state with shapes in place of arrays; costs no memory."""
    return nnx.split(nnx.eval_shape(lambda: build_model(config, rngs=nnx.Rngs(0))))
