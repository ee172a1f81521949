"""Data sets, augmentation and batches; the only package that imports tensorflow."""

import os

# Here tensorflow schedules threads and nothing else: what it says about processors and its own arithmetic is noise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
