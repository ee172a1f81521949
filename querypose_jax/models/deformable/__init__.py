"""What the deformable DETRs for poses (Group Pose, ED-Pose) have in common, from backbone maps to criterion terms.

No family of models itself. In the order in which data walks:

    tokens.py      raw maps -> projected maps -> tokens with masks, position encodings and valid ratios
    encodings.py   the sine encodings
    attention.py   deformable and ordinary attention
    encoder.py     the deformable encoder
    proposals.py   two-stage proposals and the selection of the best tokens
    model.py       all of these: what both models begin with
    heads.py       small networks that classify queries and move references
    targets.py     people of a batch in the network's coordinates
    costs.py       terms of the matching cost
    losses.py      terms of the criterion
    decode.py      from the network's numbers to poses in original pixels
    check.py       what fits together in a configuration
    names.py       where the parameters of all this are in a released state dict

Further letters of shapes, beside those of `structures.py`: T tokens of all levels, Q queries, L levels of maps, P
points per head and level. Coordinates are (x, y), boxes (cx, cy, w, h), relative to the valid part of the picture,
unless a name says otherwise. Section numbers are those of the specifications of both models.
"""
