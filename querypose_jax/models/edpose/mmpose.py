"""mmpose's names of an ED-Pose on its authors' names, for the file `edpose_res50_coco_3rdparty.pth`.

The table follows both projects' public code; the file itself has not been seen. A report there (mmpose 3101) tells that
mmpose's own model has no biases in its neck and drops those of the file. Here they are read.
"""

import re

# Beginning of a name there -> here; the first that fits counts.
PREFIXES = {
    "backbone.": "backbone.0.body.",
    "head.encoder.": "transformer.encoder.",
    "head.decoder.": "transformer.decoder.",
    "head.level_embed": "transformer.level_embed",
    "head.memory_trans_fc.": "transformer.enc_output.",
    "head.memory_trans_norm.": "transformer.enc_output_norm.",
    "head.enc_out_": "transformer.enc_out_",
    "head.out_head.": "",
    "head.label_enc.": "label_enc.",
}
NECK = {"conv": "0", "gn": "1"}
NORMS = {"encoder": (1, 2), "decoder": (2, 1, 3)}  # self-attention, (maps,) feed-forward, in mmpose's order
NECK_NAME = re.compile(r"neck\.(convs|extra_convs)\.(\d+)\.(conv|gn)\.")
MAPS = 3  # of the backbone; further levels are `extra_convs`


def official_name(name: str) -> str:
    """The authors' name of one of mmpose's; a name that the table does not know stays as it is."""
    if found := NECK_NAME.match(name):
        kind, number, part = found.groups()
        level = int(number) + (MAPS if kind == "extra_convs" else 0)
        return f"input_proj.{level}.{NECK[part]}.{name[found.end() :]}"
    for theirs, ours in PREFIXES.items():
        if name.startswith(theirs):
            return inside_layer(ours + name.removeprefix(theirs))
    return name


def inside_layer(name: str) -> str:
    """Parts of encoder and decoder layers; mmpose numbers norms as they are used, the authors as they were written."""
    found = re.match(r"transformer\.(encoder|decoder)\.layers\.\d+\.", name)
    if not found:
        return name
    part = name[found.end() :]
    part = re.sub(r"^norms\.(\d)\.", lambda norm: f"norm{NORMS[found[1]][int(norm[1])]}.", part)
    part = part.replace("self_attn.attn.", "self_attn.")
    part = re.sub(r"^ffn\.layers\.0\.0\.", "linear1.", part)
    return name[: found.end()] + re.sub(r"^ffn\.layers\.1\.", "linear2.", part)
