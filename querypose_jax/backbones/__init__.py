"""Backbones: normalised pictures in, a feature pyramid P2..P5 out."""
