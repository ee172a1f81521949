"""Exchange of weights with the released PyTorch models."""

from querypose_jax.weights.official import from_official, to_official

__all__ = ["from_official", "to_official"]
