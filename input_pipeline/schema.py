"""One feature schema for all data sets: what a record holds, and how it comes from a row of the annotation index."""

from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from input_pipeline.annotations import Annotations, objects_of
from input_pipeline.segments import NONE

# Part of the name of every prepared folder. To be raised with any change of what is read from annotation files, kept
# in records or in the index beside them: folders of an older version are then prepared anew.
FORMAT_VERSION = 6


def features(num_keypoints: int) -> tfds.features.FeaturesDict:
    """The picture's file as it is (never re-encoded), and its objects in COCO form."""
    one_object = tfds.features.FeaturesDict(
        {
            "id": np.int64,
            "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float64, doc="x, y, w, h in pixels"),
            "area": np.float64,
            "is_crowd": np.bool_,
            "has_area": np.bool_,
            "is_degenerate": np.bool_,
            "segment": tfds.features.Text(doc="run-length code, empty without segmentation"),
            "label": np.int32,
            "category_id": np.int32,
            "keypoints": tfds.features.Tensor(
                shape=(num_keypoints, 3), dtype=np.float64, doc="pixel index, visibility"
            ),
            "num_keypoints": np.int32,
        }
    )
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image_id": np.int64,
            "file_name": tfds.features.Text(),
            "height": np.int32,
            "width": np.int32,
            "crowd_index": np.float64,  # NaN where the annotation file has none
            "objects": tfds.features.Sequence(one_object),
        }
    )


def example(annotations: Annotations, row: int, picture: bytes, segments: Mapping[int, bytes] | None = None) -> dict:
    """The record of one picture; `picture` holds its file, `segments` the codes of annotations by their ids."""
    o = objects_of(annotations, row)
    codes = segments or {}
    objects = {
        "id": annotations.object_id[o],
        "bbox": annotations.bbox[o],
        "area": annotations.area[o],
        "is_crowd": annotations.is_crowd[o],
        "has_area": annotations.has_area[o],
        "is_degenerate": annotations.is_degenerate[o],
        "segment": [codes.get(number, NONE) for number in annotations.object_id[o].tolist()],
        "label": annotations.label[o],
        "category_id": annotations.category_id[o],
        "keypoints": annotations.keypoints[o],
        "num_keypoints": annotations.num_keypoints[o],
    }
    height, width = annotations.size[row].tolist()
    return {
        "image": picture,
        "image_id": annotations.image_id[row],
        "file_name": str(annotations.file_name[row]),
        "height": height,
        "width": width,
        "crowd_index": np.nan if annotations.crowd_index is None else annotations.crowd_index[row],
        "objects": objects,
    }
