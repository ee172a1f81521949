"""The goldens' manifests of whole state dicts: names and shapes of what has been published."""

import json

import pytest

from tests.parity import goldens

# Manifests, the head's and the trunk's where they are apart -> what the file is called, and the configuration that it
# must be recognised as.
PUBLISHED = {
    ("manifest_coco.json", "backbone_manifest_r50_fpn.json"): ("x.pth", "coco_r50.py:full"),
    ("manifest_coco.json", "backbone_manifest_r101_fpn.json"): ("x.pth", "coco_r101.py:full"),
    ("manifest_coco.json", "backbone_manifest_swin_l.json"): ("x.pth", "coco_swin_l.py:full"),
    ("manifest_coco.json", "backbone_manifest_hrnet_w48.json"): ("x.pth", "coco_hrnet_w48.py:full"),
    ("manifest_coco_light.json", "backbone_manifest_hrnet_w48.json"): ("x.pth", "coco_hrnet_w48.py:light"),
    ("manifest_coco_light.json", "backbone_manifest_hrnet_w32.json"): ("x.pth", "coco_hrnet_w32.py:light"),
    ("ed_manifest_r50_coco.json",): ("edpose_r50_coco.pth", "edpose/coco_r50.py"),
    ("ed_manifest_r50_crowdpose.json",): ("x.pth", "edpose/crowdpose_r50.py"),
    ("ed_manifest_swin_l_coco.json",): ("x.pth", "edpose/coco_swin_l.py"),
    ("ed_manifest_swin_l_5scale_coco.json",): ("x.pth", "edpose/coco_swin_l_5scale.py"),
    ("gp_manifest_r50_coco.json",): ("x.pth", "grouppose/coco_r50.py"),
    ("gp_manifest_full_infer.json",): ("x.pth", "grouppose/coco_r50.py"),
    ("gp_manifest_swin_t_coco.json",): ("x.pth", "grouppose/coco_swin_t.py"),
    ("gp_manifest_swin_l_coco.json",): ("x.pth", "grouppose/coco_swin_l.py"),
    ("sp_manifest_coco.json",): ("x.pth", "simplepose/coco_hourglass104.py"),
    ("sp_manifest_crowdpose.json",): ("x.pth", "simplepose/crowdpose_hourglass104.py"),
}


def shapes_of(manifests: tuple[str, ...]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Name -> shape of the tensors of a state dict, and name -> name of those that it holds a second time."""
    shapes: dict[str, tuple[int, ...]] = {}
    again: dict[str, str] = {}
    for name in manifests:
        path = goldens.FOLDER / name
        if not path.exists():
            pytest.skip(f"no {name} in {goldens.FOLDER.name}/")
        manifest = json.loads(path.read_text())
        shapes |= {key: tuple(shape) for key, shape in manifest["shapes"].items()}
        shapes |= dict.fromkeys(manifest.get("counters", ()), ())
        again |= manifest.get("duplicates", {})
    return shapes, again
