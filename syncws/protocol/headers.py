"""Header fields of an HTTP head: names without regard to case, several values for one name.

A :class:`Headers` is a value: it is built once from the parsed pairs and not changed afterwards, so any number of
threads may read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Headers"]


class Headers(Mapping[str, str]):
    """An immutable mapping from header name to value.

    ``headers["Cookie"]`` is the value; values of a name that occurs several times are joined with ``", "``, as
    RFC 9110, section 5.3 defines them to mean. :meth:`get_all` gives them one by one. A name that is not there
    raises :class:`KeyError`; ``headers.get("Cookie")`` returns ``None`` instead. Iteration gives each name once,
    in lower case; :meth:`pairs` gives the fields as they came.

    :param pairs: name and value of each field, in the order of the head.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def get_all(self, name: str) -> list[str]:
        """Return every value of ``name``, in order; an empty list if there is none."""
        wanted = name.lower()
        size = len(wanted)
        # The length first: of a head's fields it tells most apart (RFC 9110, 5.1: names are of ASCII).
        return [value for key, value in self._pairs if len(key) == size and key.lower() == wanted]

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the fields as they came: pairs of name and value, in order, names as written."""
        return self._pairs

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.lower() for key, _ in self._pairs))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self._pairs})

    def __repr__(self) -> str:
        return f"Headers({list(self._pairs)!r})"
