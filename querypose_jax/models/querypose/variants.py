"""What `config.model` says about how queries flow: the released full and light versions, and the paper's ablations."""

from ml_collections import ConfigDict


def starts_from_parts(config: ConfigDict) -> bool:
    """Pose stages work on part queries of their own, not on copies of the instance query (paper's Table 1)."""
    return config.pose_query == "part"


def refines_all(config: ConfigDict) -> bool:
    """The pose stages' dynamic MLP refines every query, in training and at test time."""
    return not config.light and config.query_feedback == "all"


def writes_back(config: ConfigDict) -> bool:
    """In training the next box stage starts from queries that a pose stage has refined."""
    return not config.light and config.query_feedback != "none"


def boxes_come_first(config: ConfigDict) -> bool:
    """At test time no box and no class score depends on a pose stage: all box stages can run before."""
    return not (config.carry_query_at_test or refines_all(config))
