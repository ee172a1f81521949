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
        UserError: what failed and what is kept, in one line, where bad input or the file system was the reason; of
            the error's own kind.
        KeyboardInterrupt: with what is kept as its message.
        Exception: any other error, with a note.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("; ".join(filter(None, [*map(str, error.args), kept()]))) from None
    except (UserError, OSError) as error:
        if not (said := kept()):
            raise
        kind = type(error) if isinstance(error, UserError) else UserError
        raise kind(f"{error}; {said}") from error
    except Exception as error:
        if said := kept():
            error.add_note(said)
        raise
