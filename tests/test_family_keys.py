"""No key of one family is read outside of its folder and its configurations: the house asks the family instead."""

import ast
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
    """Names that code could read a key by: attributes, and strings with their dotted parts."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_config(node.value):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield from node.value.split(".")


def is_config(node: ast.AST) -> bool:
    """An expression that looks like a configuration or a group of one: config.model, options.config, data."""
    names = [part.attr if isinstance(part, ast.Attribute) else getattr(part, "id", "") for part in ast.walk(node)]
    return bool({"config", "model", "data", "loss", "matching"} & set(names))


def readers(name: str) -> list[str]:
    """Modules outside of a family that name one of its keys."""
    keys, found = own_keys(name), []
    for path in source_files():
        module = module_name(path)
        if family(module) == name or module.startswith(("configs", *ROOMS_OF_SHARED, "kernels")):
            continue
        found += [f"{module} reads {word}" for word in words(ast.parse(path.read_text())) if word in keys]
    return found


@pytest.mark.parametrize("name", sorted(registry.HOMES))
def test_a_familys_keys_are_read_in_its_folder_alone(name):
    assert readers(name) == []


def test_the_rule_itself_finds_a_reader():
    assert {"num_proposals", "light", "carry_query_at_test", "released_rescore"} <= own_keys("querypose")
    seen = set(words(ast.parse('x = config.model.num_proposals; y = config["model.light"]\ndef f():\n  "stages"')))
    assert {"num_proposals", "light"} <= seen and "stages" not in seen
