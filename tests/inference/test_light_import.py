import subprocess
import sys

HEAVY = ("jax", "flax", "numpy", "tensorflow", "orbax", "PIL", "pycocotools")


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, querypose_jax; print([m for m in {HEAVY} if m in sys.modules], querypose_jax.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ")


def test_predictor_and_evaluation_do_without_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = None; import querypose_jax, querypose_jax.evaluation.runner; "
        "querypose_jax.Predictor; import querypose_jax.inference.files; print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fine"
