"""No key of one family is read outside of its folder and its configurations: the house asks the family instead."""

import ast
import re
from collections.abc import Iterator

import pytest

from configs import common
from querypose_jax.configuration.check_keys import default_config
from querypose_jax.configuration.flat import flat
from querypose_jax.models import registry
from tests.test_imports import family, module_name, source_files

# Keys that a room reads for every family that has them, which makes them common in all but their place.
SHARED = {
    "model.backbone",  # backbones/ builds what it says, weights/ tells trunks apart by it
    "model.remat",  # a row of the bench's compile table, where there is such a key
    "model.loss",
    "matching.solver",  # the same
}
KEY = re.compile(r"(config\.)?(model|data|optimizer|train|eval|matching|plan)(\.\w+)+")
ROOMS_OF_SHARED = ("querypose_jax.backbones", "querypose_jax.weights", "querypose_jax.bench")


def own_keys(name: str) -> set[str]:
    """Last parts of the keys that a family adds to the common ones, and of no common key."""
    config = common.get_config()
    config.model.name = name
    known = flat(common.get_config())
    added = {key for key in flat(default_config(config)) if key not in known}
    added = {key for key in added if not key.startswith(tuple(SHARED))}
    return {key.split(".")[-1] for key in added} - {key.split(".")[-1] for key in known}


def words(tree: ast.AST) -> Iterator[str]:
    """Last parts of the keys that code reads: attributes of what looks like a configuration, and dotted strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_config(node.value):
            yield node.attr
        elif isinstance(node, ast.Subscript) and is_config(node.value) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value).split(".")[-1]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and KEY.fullmatch(node.value):
            yield node.value.split(".")[-1]


def is_config(node: ast.AST) -> bool:
    """An expression that looks like a configuration or a group of one: config.model, options.config, data."""
    names = [part.attr if isinstance(part, ast.Attribute) else getattr(part, "id", "") for part in ast.walk(node)]
    return bool({"config", "model", "data", "loss", "matching"} & set(names))


def readers(name: str) -> list[str]:
    """Modules outside of models/, where families and what they share live, that name a key of a family."""
    keys, found = own_keys(name), []
    for path in source_files():
        module = module_name(path)
        if module.startswith(("configs", "kernels", "querypose_jax.models.", *ROOMS_OF_SHARED)):
            continue
        found += [f"{module} reads {word}" for word in words(ast.parse(path.read_text())) if word in keys]
    return found


def strangers(name: str) -> list[str]:
    """Modules of other families that name a key which only this family has."""
    others = set().union(*(own_keys(other) for other in registry.HOMES if other != name))
    keys = own_keys(name) - others
    folders = [path for path in source_files() if family(module_name(path)) not in (None, name)]
    return [
        f"{module_name(path)} reads {word}"
        for path in folders
        for word in words(ast.parse(path.read_text()))
        if word in keys
    ]


@pytest.mark.parametrize("name", sorted(registry.HOMES))
def test_a_familys_keys_are_read_by_families_alone(name):
    assert readers(name) == []
    assert strangers(name) == []


def test_the_rule_itself_finds_a_reader():
    assert {"num_proposals", "light", "carry_query_at_test", "released_rescore"} <= own_keys("querypose")
    seen = set(words(ast.parse('x = config.model.num_proposals; y = config["model.light"]\ndef f():\n  "stages"')))
    assert {"num_proposals", "light"} <= seen and "stages" not in seen
