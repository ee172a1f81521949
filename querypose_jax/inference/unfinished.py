"""Work that fails late: the finished part stays under a name that says so, and the error says how to go on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from querypose_jax.errors import UserError


def part_of(path: Path) -> Path:
    """NAME.part.SUFFIX: where NAME.SUFFIX is written until it is whole."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


@contextmanager
def telling(kept: Callable[[], str]) -> Iterator[None]:
    """Any failure inside also says what is kept and how to go on.

    Args:
        kept: asked when something fails; "" where nothing is kept, and the error stays as it is.

    Raises:
        UserError: what failed and what is kept, in one line, where bad input or the file system was the reason.
        KeyboardInterrupt: with what is kept as its message.
        Exception: any other error, with a note.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(*[said for said in [kept()] if said], *error.args) from None
    except (UserError, OSError) as error:
        if not (said := kept()):
            raise
        raise UserError(f"{error}; {said}") from error
    except Exception as error:
        if said := kept():
            error.add_note(said)
        raise
