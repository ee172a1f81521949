"""The house's directions: who may import whom. Read from the source, so that nothing has to be imported."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("kernels", "configs", "input_pipeline", "querypose_jax")

# Left to right: each level may import the ones before it (and itself).
CONTRACTS = {"querypose_jax"} | {
    f"querypose_jax.{name}"
    for name in ("command_line", "errors", "files", "memory", "structures", "skeletons", "packing", "pictures")
}
LEVELS = ["geometry", "layers", "backbones", "models"]
TOP = {"training", "evaluation", "inference", "weights", "bench"}
# Arrows between rooms of the top level, each with its reason.
SIDEWAYS = {
    ("evaluation", "querypose_jax.inference"),  # what is evaluated is what prediction predicts, draws and writes
    ("inference", "querypose_jax.training.checkpoint"),  # the file that knows how a checkpoint looks
    ("weights", "querypose_jax.training.checkpoint"),  # an import writes what training would have written
    ("bench", "querypose_jax.training"),
    ("bench", "querypose_jax.inference"),
    ("bench", "querypose_jax.evaluation"),
    ("bench", "querypose_jax.weights"),  # the peer gets our weights
}
KNOW_ORBAX = {"querypose_jax.training.checkpoint", "querypose_jax.training.rotation"}
OUTSIDE = {
    "kernels": {"jax", "numpy", "scipy", "jaxtyping", "kernels"},
    "configs": {"ml_collections", "configs"},
}


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


def allowed(importer: str, imported: str) -> bool:
    """Whether a module of the house may import another one of the house."""
    if importer == "launch":
        return True
    if importer == "querypose_jax":  # exports lazily what its rooms offer
        return is_in(imported, "querypose_jax")
    if importer.split(".")[0] != "querypose_jax":  # kernels and configs: see OUTSIDE
        return is_in(imported, "input_pipeline") or imported in CONTRACTS
    if is_in(imported, "kernels"):
        return room(importer) not in ("", "geometry")
    if is_in(importer, "querypose_jax.bench") and is_in(imported, "input_pipeline"):
        return True  # it measures the pipeline
    if not is_in(imported, "querypose_jax"):
        return False  # neither configs nor input_pipeline nor launch
    here, there = room(importer), room(imported)
    if here == there or there == "":
        return True
    if here in LEVELS:
        return there in LEVELS[: LEVELS.index(here)]
    if here in TOP:
        return there in LEVELS or any(here == a and is_in(imported, b) for a, b in SIDEWAYS)
    return False


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


def test_no_model_imports_another():
    models = ROOT / "querypose_jax" / "models"
    for folder in (path for path in models.iterdir() if path.is_dir() and path.name != "__pycache__"):
        for path in folder.rglob("*.py"):
            for imported in imported_modules(path):
                parts = imported.split(".")
                if parts[:2] == ["querypose_jax", "models"] and len(parts) > 2 and (models / parts[2]).is_dir():
                    assert parts[2] == folder.name, f"{module_name(path)} imports {imported}"


@pytest.mark.parametrize(
    ("importer", "imported", "verdict"),
    [
        ("querypose_jax.models.querypose.model", "querypose_jax.layers.attention", True),
        ("querypose_jax.models.querypose.model", "kernels.roi_align", True),
        ("querypose_jax.layers.attention", "querypose_jax.models.registry", False),
        ("querypose_jax.structures", "querypose_jax.geometry.boxes", False),
        ("querypose_jax.training.loop", "input_pipeline.loader", False),
        ("querypose_jax.training.loop", "querypose_jax.evaluation.runner", False),
        ("querypose_jax.inference.predictor", "querypose_jax.training.checkpoint", True),
        ("querypose_jax.inference.predictor", "querypose_jax.training.loop", False),
        ("input_pipeline.loader", "querypose_jax.models.registry", False),
        ("input_pipeline.loader", "querypose_jax.pictures", True),
        ("launch", "input_pipeline.loader", True),
    ],
)
def test_the_rule_itself_tells_right_from_wrong(importer, imported, verdict):
    assert allowed(importer, imported) == verdict
