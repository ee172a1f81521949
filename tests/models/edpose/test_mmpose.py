"""mmpose's names of an ED-Pose become its authors'."""

import re

import pytest

from configs.edpose import coco_r50
from querypose_jax.models.edpose.mmpose import official_name
from querypose_jax.models.edpose.params import official_names

# The table of both public codes, this way round: beginnings of the authors' names -> mmpose's.
TABLE = (
    (r"^backbone\.0\.body\.", "backbone."),
    (r"^input_proj\.([012])\.0\.", r"neck.convs.\1.conv."),
    (r"^input_proj\.([012])\.1\.", r"neck.convs.\1.gn."),
    (r"^input_proj\.3\.0\.", "neck.extra_convs.0.conv."),
    (r"^input_proj\.3\.1\.", "neck.extra_convs.0.gn."),
    (r"^transformer\.(en|de)coder\.layers\.(\d)\.linear1\.", r"head.\1coder.layers.\2.ffn.layers.0.0."),
    (r"^transformer\.(en|de)coder\.layers\.(\d)\.linear2\.", r"head.\1coder.layers.\2.ffn.layers.1."),
    (r"^transformer\.encoder\.layers\.(\d)\.norm1\.", r"head.encoder.layers.\1.norms.0."),
    (r"^transformer\.encoder\.layers\.(\d)\.norm2\.", r"head.encoder.layers.\1.norms.1."),
    (r"^transformer\.decoder\.layers\.(\d)\.norm2\.", r"head.decoder.layers.\1.norms.0."),
    (r"^transformer\.decoder\.layers\.(\d)\.norm1\.", r"head.decoder.layers.\1.norms.1."),
    (r"^transformer\.decoder\.layers\.(\d)\.norm3\.", r"head.decoder.layers.\1.norms.2."),
    (r"^transformer\.decoder\.layers\.(\d)\.self_attn\.", r"head.decoder.layers.\1.self_attn.attn."),
    (r"^transformer\.(encoder|decoder|level_embed|enc_out_)", r"head.\1"),
    (r"^transformer\.enc_output\.", "head.memory_trans_fc."),
    (r"^transformer\.enc_output_norm\.", "head.memory_trans_norm."),
    (r"^(class_embed|bbox_embed|pose_embed|pose_hw_embed)\.", r"head.out_head.\1."),
    (r"^label_enc\.", "head.label_enc."),
)


def mmpose_name(name: str) -> str:
    """mmpose's name of one of the authors'; every name has a row of the table."""
    changed = [re.sub(pattern, theirs, name) for pattern, theirs in TABLE if re.match(pattern, name)]
    assert changed, name
    return changed[0]


def test_every_name_of_the_released_model_comes_back_from_mmposes():
    """The neck's biases among them."""
    names = [name for source in official_names(coco_r50.get_config()).values() for name in source.names]
    theirs = [mmpose_name(name) for name in names]
    assert len(set(theirs)) == len(names)
    assert [official_name(name) for name in theirs] == names
    assert "neck.extra_convs.0.conv.bias" in theirs


@pytest.mark.parametrize("name", ["optimizer.state", "neck.other.0.conv.weight"])
def test_an_unknown_name_stays_as_it_is(name):
    assert official_name(name) == name
