"""docs/models.md and the tables that the commands read say the same."""

import re
from pathlib import Path

import pytest

from querypose_jax.models.registry import FOLDERS, get_family
from querypose_jax.weights.published import names_of, published, published_under
from querypose_jax.weights.recognise import released_config

PAGE = (Path(__file__).parent.parent.parent / "docs" / "models.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
RELEASED = [(family, r) for family in FOLDERS for r in get_family(family).weights.released]


@pytest.mark.parametrize(("family", "released"), RELEASED, ids=lambda x: getattr(x, "name", x))
def test_every_published_checkpoint_has_a_row_with_its_config_its_file_and_its_name(family, released):
    rows = [row for row in ROWS if f"`{released.config}`" in row]
    if released.file:
        rows = [row for row in rows if f"`{released.file}`" in row]
    name = names_of(released)[0]
    assert any(f"`{name}`" in row for row in rows) if released.address else rows
    assert released_config(released.config).model.name == family


@pytest.mark.parametrize("trunk", [p for p in published() if not p.config], ids=lambda p: p.name)
def test_every_trunk_has_a_row_with_its_name_and_terms(trunk):
    (row,) = [row for row in ROWS if f"`{trunk.name}`" in row]
    assert trunk.origin.terms in row and trunk.origin.page in row
    assert published_under(trunk.file) == trunk.origin


def test_terms_and_pages_of_the_families_are_on_the_page():
    for family in FOLDERS:
        origin = get_family(family).weights.origin
        assert origin.page in PAGE
        assert all(word in PAGE for word in re.findall(r"[\w.-]{4,}", origin.terms.split(":")[0])), origin.terms


def test_names_and_addresses_are_all_different():
    found = published()
    for field in ("name", "address"):
        assert len({getattr(p, field) for p in found}) == len(found)
    assert all(p.address.startswith("https://") for p in found)
