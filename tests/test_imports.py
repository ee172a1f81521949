"""The house's directions: who may import whom. Read from the source, so that nothing has to be imported."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from querypose_jax.models.registry import HOMES

ROOT = Path(__file__).parent.parent
PACKAGES = ("kernels", "configs", "input_pipeline", "querypose_jax")

CONTRACTS = {"querypose_jax"} | {
    f"querypose_jax.{name}"
    for name in (
        "budget", "checks", "command_line", "errors", "files", "memory", "pictures", "sides", "skeletons", "structures",
    )
}  # fmt: skip
# Left to right: a room may import those before its own, and itself. Rooms of one place do not know each other.
ROOMS = (
    {"recipes"}, {"geometry"}, {"layers"}, {"backbones"}, {"models"}, {"configuration"}, {"devices"}, {"checkpoints"},
    {"training", "planning", "weights", "onnx"}, {"inference"}, {"evaluation"}, {"bench"}, {"runs"},
)  # fmt: skip
PLACE = {room: place for place, rooms in enumerate(ROOMS) for room in rooms}
KNOW_INPUT_PIPELINE = {"bench", "runs"}
KNOW_ORBAX = {"querypose_jax.checkpoints.checkpoint", "querypose_jax.checkpoints.rotation"}
OUTSIDE = {
    "kernels": {"jax", "numpy", "scipy", "jaxtyping", "kernels"},
    "configs": {"ml_collections", "configs"},
}
FAMILIES = sorted(path.parent.name for path in (ROOT / "querypose_jax" / "models").glob("*/family.py"))


def source_files() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [*found, ROOT / "launch.py"]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in the file; `from a import b` counts as a.b where that is a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def room(module: str) -> str:
    """geometry of querypose_jax.geometry.boxes; "" for the contracts."""
    return "" if module in CONTRACTS else module.split(".")[1]


def family(module: str) -> str | None:
    """edpose of querypose_jax.models.edpose.model; None outside of the families' folders."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["querypose_jax", "models"] and len(parts) > 2 and parts[2] in FAMILIES else None


def allowed(importer: str, imported: str) -> bool:
    """Whether a module of the house may import another one of the house."""
    if family(imported) not in (None, family(importer)):
        return False  # families are found by their names in the registry, which imports them when asked for
    if importer == "launch":
        return True
    if importer == "querypose_jax":  # exports lazily what its rooms offer
        return is_in(imported, "querypose_jax")
    if importer.split(".")[0] != "querypose_jax":  # kernels and configs: see OUTSIDE
        return is_in(imported, "input_pipeline") or imported in CONTRACTS or is_in(imported, "querypose_jax.recipes")
    here = room(importer)
    if is_in(imported, "kernels"):
        return here not in ("", "recipes", "geometry")
    if is_in(imported, "input_pipeline"):
        return here in KNOW_INPUT_PIPELINE
    if not is_in(imported, "querypose_jax"):
        return False  # neither configs nor launch
    there = room(imported)
    return there in (here, "") or (here != "" and PLACE[there] < PLACE[here])


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_imports_follow_the_arrows(path):
    importer = module_name(path)
    top = importer.split(".")[0]
    for imported in imported_modules(path):
        outside = imported.split(".")[0]
        if outside in sys.stdlib_module_names:
            continue
        if top in OUTSIDE:
            assert outside in OUTSIDE[top], f"{importer} imports {imported}"
        elif outside in (*PACKAGES, "launch"):
            assert allowed(importer, imported), f"{importer} imports {imported}: this arrow runs back"
        if outside in ("tensorflow", "tensorflow_datasets", "array_record"):
            assert top == "input_pipeline", f"{importer} imports {imported}: only input_pipeline may"
        if outside == "orbax":
            assert importer in KNOW_ORBAX, f"{importer} imports {imported}"


def test_no_files_import_each_other_in_a_circle():
    arrows = {
        module_name(path): {name for name in imported_modules(path) if name.split(".")[0] in (*PACKAGES, "launch")}
        for path in source_files()
    }
    arrows.pop("querypose_jax")  # its imports are for type checkers, or come when a name is asked for
    with pytest.raises(CycleError):  # the rule itself
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()
    TopologicalSorter(arrows).prepare()  # raises CycleError, which shows the circle


def test_rooms_and_families_are_those_that_there_are():
    folders = {path.parent.name for path in (ROOT / "querypose_jax").glob("*/__init__.py")}
    assert folders == set(PLACE)
    assert set(FAMILIES) == set(HOMES) and FAMILIES


@pytest.mark.parametrize(
    ("importer", "imported", "verdict"),
    [
        ("querypose_jax.models.querypose.model", "querypose_jax.layers.attention", True),
        ("querypose_jax.models.querypose.model", "querypose_jax.models.base", True),
        ("querypose_jax.models.querypose.model", "kernels.roi_align", True),
        ("querypose_jax.layers.attention", "querypose_jax.models.registry", False),
        ("querypose_jax.structures", "querypose_jax.geometry.boxes", False),
        ("querypose_jax.models.registry", "querypose_jax.models.querypose.family", False),
        ("querypose_jax.weights.sources", "querypose_jax.models.querypose.params", False),
        ("querypose_jax.training.loop", "input_pipeline.loader", False),
        ("querypose_jax.training.loop", "querypose_jax.planning.summary", False),
        ("querypose_jax.training.loop", "querypose_jax.checkpoints.rotation", True),
        ("querypose_jax.checkpoints.rotation", "querypose_jax.training.loop", False),
        ("querypose_jax.inference.predictor", "querypose_jax.evaluation.runner", False),
        ("querypose_jax.evaluation.runner", "querypose_jax.inference.results", True),
        ("querypose_jax.runs.train", "input_pipeline.loader", True),
        ("querypose_jax.runs.train", "configs.common", False),
        ("input_pipeline.loader", "querypose_jax.models.registry", False),
        ("input_pipeline.loader", "querypose_jax.recipes.querypose", True),
        ("launch", "querypose_jax.runs.train", True),
        ("launch", "querypose_jax.models.querypose.model", False),
    ],
)
def test_the_rule_itself_tells_right_from_wrong(importer, imported, verdict):
    assert allowed(importer, imported) == verdict
