"""Nothing that is read at run time can become code: shown on the source of the whole project."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("querypose_jax", "kernels", "input_pipeline", "configs", "scripts")
SOURCES = [ROOT / "launch.py", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]

# Modules that run what they read, or hand it to a shell or a C pointer.
FORBIDDEN = {
    "pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "runpy", "code",
    "codeop", "imp", "pty", "ctypes", "cffi",
}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
ALLOWED = {
    (
        "querypose_jax/weights/pickles.py",
        "import pickle",
    ): "the unpickler that finds stand-ins of its own and nothing else",
    ("input_pipeline/data_yaml.py", "import yaml"): "scan and safe_load, which make plain values",
    ("scripts/fuzzing/weights.py", "import pickle"): "writes the files that it then damages; reads none",
    ("querypose_jax/__init__.py", "import_module"): "names of its own table",
    ("querypose_jax/bench/__main__.py", "import_module"): "names of its own table",
    ("querypose_jax/bench/peers/torch_peer.py", "import_module"): "names of the peers' own files",
    ("querypose_jax/bench/peers/__init__.py", "import_module"): "the names of its own folder",
    ("querypose_jax/bench/gpu/models.py", "import_module"): "names of its own table",
    ("scripts/compare_onnx.py", "import_module"): "a configuration of configs/ that its caller names",
    ("querypose_jax/weights/recognise.py", "import_module"): "configurations that families' tables name",
    ("scripts/check_weights.py", "import_module"): "configurations that the table of published files names",
    ("querypose_jax/models/registry.py", "import_module"): "names of its own table",
    ("querypose_jax/configuration/check_keys.py", "import_module"): "the module that a family of the registry names",
    ("querypose_jax/memory.py", "import ctypes"): "two calls of the C library with numbers of its own",
}


def offences(tree: ast.AST) -> Iterator[str]:
    """What could turn data into code, by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.split(".")[0] in FORBIDDEN)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FORBIDDEN:
            yield f"import {node.module}"
        elif isinstance(node, ast.Call):
            yield from offences_of_call(node)


def offences_of_call(node: ast.Call) -> Iterator[str]:
    """As `offences`, of one call."""
    function, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
    owner, _, last = function.rpartition(".")
    if function in CALLS:
        yield f"call of {function}"
    if last == "import_module":
        yield "import_module"
    if owner in ("os", "posix") and (last in ("system", "popen") or last.startswith(("exec", "spawn"))):
        yield f"call of {function}"
    if given.get("shell", "False") != "False":
        yield "a shell"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if function in ("np.load", "numpy.load", "jnp.load") and given.get("allow_pickle") != "False":
        yield f"{function} without allow_pickle=False"
    if function == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if owner == "yaml" and last not in ("safe_load", "scan"):
        yield f"call of {function}"
    if last in ("extractall", "unpack_archive"):
        yield f"{last} of an archive: names in it may leave the folder"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_read_at_run_time_becomes_code(path):
    name = str(path.relative_to(ROOT))
    found = set(offences(ast.parse(path.read_text())))
    assert {offence for offence in found if (name, offence) not in ALLOWED} == set()


def test_every_exception_is_still_needed():
    for name, offence in ALLOWED:
        assert offence in set(offences(ast.parse((ROOT / name).read_text()))), f"{name}: {offence}"


def modules(tree: ast.AST) -> set[str]:
    """What a file imports, the first word of each name."""
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_nothing_but_the_bench_imports_torch():
    found = {path for path in SOURCES if "torch" in modules(ast.parse(path.read_text()))}
    assert {path.parent.relative_to(ROOT).parts[:2] for path in found} == {("querypose_jax", "bench")}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import yaml.reader", "eval(text)", "exec(text)",
        "os.system(text)",
        "importlib.import_module(name)", "np.load(path)", "np.load(path, allow_pickle=True)", "os.execv(path, [])",
        "torch.load(path)", "torch.load(path, weights_only=False)", "subprocess.run(text, shell=True)",
        "archive.extractall(folder)", "compile(text, '', 'exec')", "__import__(name)",
        "yaml.load(text, Loader)", "yaml.unsafe_load(text)",
    ],
)  # fmt: skip
def test_the_rule_itself_finds(source):
    assert list(offences(ast.parse(source)))


@pytest.mark.parametrize(
    "source", ["re.compile(text)", "np.load(p, allow_pickle=False)", "model.eval()", "subprocess.run([a])"]
)
def test_the_rule_itself_passes(source):
    assert not list(offences(ast.parse(source)))
