"""For mkdocs: links of a page that leave docs/ (to a config, a test, the README) are files of the repository, which a
site does not have. Their text stays, with the path in it."""

import re

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, **given: object) -> str:
    """Called by mkdocs for every page."""
    return LINK.sub(lambda found: text_of(found[1], found[2].partition("#")[0]), markdown)


def text_of(shown: str, path: str) -> str:
    """`configs/common.py`, or the words of the link and the path."""
    name = f"`{path}`"
    return name if shown.strip("`") in (path, path.rpartition("/")[2]) else f"{shown} ({name})"
