"""python -m querypose_jax.weights: see command.py."""

import sys

from querypose_jax.weights.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
