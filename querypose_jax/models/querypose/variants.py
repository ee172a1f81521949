"""What `config.model` says about how queries flow: the released full and light versions, and the paper's ablations."""

from ml_collections import ConfigDict


def carries_part_queries(config: ConfigDict) -> bool:
    """A pose stage hands its part queries on to the next one (paper's Table 2a without its first row)."""
    return config.pose_query == "part" and config.iteration != "none"


def reads_part_queries(config: ConfigDict) -> bool:
    """Part queries enter a pose stage, so that there are learnt ones to begin with. SPEGM alone reads none: it looks
    at the map, and its embeddings are the part queries of the stage."""
    return carries_part_queries(config) or (config.pose_query == "part" and config.part_reading != "attention")


def refines_all(config: ConfigDict) -> bool:
    """The pose stages' dynamic MLP refines every query, in training and at test time."""
    return not config.light and config.query_feedback == "all"


def writes_back(config: ConfigDict) -> bool:
    """In training the next box stage starts from queries that a pose stage has refined."""
    return not config.light and config.query_feedback != "none"


def boxes_come_first(config: ConfigDict) -> bool:
    """At test time no box and no class score depends on a pose stage: all box stages can run before."""
    return not (config.carry_query_at_test or refines_all(config))
