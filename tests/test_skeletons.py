"""Skeletons described in a configuration."""

import pytest
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.skeletons import COCO, DEFAULT_SIGMA, get_skeleton, paired_by_name

FISH = dict(
    name="fish",
    names=("mouth", "left_fin", "right_fin", "tail"),
    sigmas=(0.05, 0.1, 0.1, 0.08),
    flip_pairs=(("left_fin", "right_fin"),),
    edges=(("mouth", "tail"), ("left_fin", "right_fin")),
    parts=(("fins", ("right_fin", "left_fin")), ("ends", ("mouth", "tail"))),
)


def test_a_described_skeleton_counts_joints_in_the_order_of_the_file():
    fish = get_skeleton(ConfigDict(FISH))
    assert (fish.name, fish.num_keypoints, fish.sigmas) == ("fish", 4, FISH["sigmas"])
    assert fish.flip_index == (0, 2, 1, 3)
    assert fish.edges == ((0, 3), (1, 2))
    assert fish.part_order == (2, 1, 0, 3)


def test_without_parts_every_joint_is_a_part_of_its_own_and_names_are_enough():
    plain = get_skeleton(dict(names=("a", "b", "c")))
    assert plain.parts == (("a", (0,)), ("b", (1,)), ("c", (2,)))
    assert plain.sigmas == (DEFAULT_SIGMA,) * 3
    assert plain.flip_index == (0, 1, 2)


def test_the_known_ones_go_by_their_names():
    assert get_skeleton("coco") is COCO


@pytest.mark.parametrize(
    "names",
    [
        ("left_eye", "nose", "right_eye"),
        ("Left Eye", "Nose", "Right Eye"),
        ("leftEye", "nose", "rightEye"),
        ("lefteye", "nose", "righteye"),
        ("eye_left", "nose", "eye_right"),
        ("L_Eye", "Nose", "R_Eye"),
        ("LEye", "Nose", "REye"),
        ("eye.L", "nose", "eye.R"),
        ("LEFT_EYE_1", "LEFT_NOSE", "RIGHT_EYE_1"),
    ],
)
@pytest.mark.parametrize("given", [{}, {"flip_pairs": ()}])
def test_sides_are_paired_by_their_names_which_is_told(names, given):
    described = dict(names=names) | given
    assert get_skeleton(described).flip_index == (2, 1, 0)
    assert paired_by_name(described).endswith(f"in a mirror: {names[0]} - {names[2]}")


def test_pairs_that_are_given_come_first_and_names_without_sides_have_none():
    described = dict(names=("left_a", "right_a", "mirror_a", "left_b", "right_b"), flip_pairs=(("left_a", "mirror_a"),))
    assert get_skeleton(described).flip_index == (2, 1, 0, 4, 3)
    assert paired_by_name(described).endswith("mirror: left_b - right_b")
    plain = dict(names=("cleft", "bright", "bill", "birr", "hip", "left_left", "right_right"))
    assert get_skeleton(plain).flip_index == tuple(range(7))
    assert paired_by_name(plain) == paired_by_name("coco") == ""
    assert paired_by_name(FISH) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(names=()), "needs names"),
        (dict(names=("mouth", "mouth", "x", "y")), "all different"),
        (dict(bones=()), "unknown key 'bones'"),
        (dict(edges=(("mouth", "gill"),)), "skeleton.edges names the joint 'gill'; names has mouth, left_fin"),
        (dict(flip_pairs=(("tail", "tail"),)), "flip_pairs must be pairs of two different joints"),
        (dict(flip_pairs=(("tail", "mouth"), ("tail", "left_fin"))), "in two flip pairs"),
        (dict(sigmas=(0.1, 0.1)), "2 sigmas for 4 keypoints"),
        (dict(sigmas=(0.1, 0.1, 0.0, 0.1)), "sigmas must be positive"),
        (dict(parts=(("ends", ("mouth", "tail")),)), "parts must hold every keypoint exactly once"),
        (dict(parts=("mouth", "tail")), "config.data.skeleton: "),
    ],
)
def test_a_description_that_does_not_fit_together_is_one_line(changes, message):
    with pytest.raises(UserError, match=message) as error:
        get_skeleton(ConfigDict(FISH | changes))
    assert "\n" not in str(error.value)


def test_limbs_are_described_or_else_the_edges():
    assert get_skeleton(dict(FISH)).limbs == ((0, 3), (1, 2))
    limbs = get_skeleton(dict(FISH) | dict(limbs=(("tail", "mouth"),))).limbs
    assert limbs == ((3, 0),)
    with pytest.raises(UserError, match="skeleton.limbs names the joint 'gill'"):
        get_skeleton(dict(FISH) | dict(limbs=(("tail", "gill"),)))


def test_a_limb_that_runs_the_other_way_in_the_mirror_has_no_mirror_image():
    fish = get_skeleton(dict(FISH) | dict(limbs=(("mouth", "left_fin"), ("mouth", "right_fin"), *FISH["edges"])))
    assert fish.flip_limbs == (1, 0, 2, None)
