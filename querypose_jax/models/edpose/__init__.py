"""ED-Pose (Yang et al., ICLR 2023): people as boxes first, then each person's joints as small boxes of their own.

In the order in which data walks:

    denoising.py   noisy copies of the people, queries of training
    attention.py   who sees whom among the queries
    decoder.py     decoder layers, boxes that move, and the expansion of people into joints
    model.py       all of it
    criterion.py   matching and losses
    params.py      where the parameters are in a released state dict

Further letters of shapes, beside those of `structures.py` and `models.deformable`: D denoising queries, I instances
(people that are kept and expanded), J = K + 1 queries of an instance, the person's first. Queries lie in one row: D
denoising queries, if any, then N people, or I instances of J queries each. Section numbers are those of ED-Pose's
specification.
"""
