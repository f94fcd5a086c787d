"""Registries: a room's folder holds one file a kind, each file says what it is, and adding a kind is adding a file."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from lampq_tvm.errors import LampqError, UsageError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Registry(Generic[K, V]):
    """Entries by name or by class, registered by the modules of a package, which are imported when they are first needed.

    >>> codecs = Registry[str, int]("codec")
    >>> codecs.add("uniform", 8)
    8
    >>> codecs["uniform"], "log2" in codecs, list(codecs)
    (8, False, ['uniform'])
    >>> codecs["unifrom"]
    Traceback (most recent call last):
    lampq_tvm.errors.UsageError: unknown codec 'unifrom'; did you mean uniform?

    Args:
        what: names an entry in errors.
        package: whose modules register entries; None where whoever registers is imported anyway.
        error: raised for what is not there.
    """

    def __init__(self, what: str, package: str | None = None, error: type[LampqError] = UsageError) -> None:
        self.what, self._package, self._error = what, package, error
        self._entries: dict[K, V] = {}

    def add(self, key: K, entry: V) -> V:
        """Register an entry; returns it."""
        if key in self._entries:
            raise AssertionError(f"two files register the {self.what} {_text(key)}")
        self._entries[key] = entry
        return entry

    def register(self, *keys: K) -> Callable[[V], V]:
        """A decorator that registers what it is put on, under one key or several."""

        def keep(entry: V) -> V:
            for key in keys:
                self.add(key, entry)
            return entry

        return keep

    def forget(self, *keys: K) -> None:
        """Take entries back."""
        for key in keys:
            self._entries.pop(key, None)

    def find(self, key: K, *, where: str | None = None) -> V:
        """The entry of a key.

        Args:
            where: the file, layer or option that names it, for the error.

        Raises:
            LampqError: there is none, of the kind that the registry was made with; the nearest names are offered.
        """
        found = self.get(key)
        if found is None:
            known = sorted(_text(each) for each in self)
            near = difflib.get_close_matches(_text(key), known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
            name = repr(key) if isinstance(key, str) else _text(key)
            raise self._error(f"unknown {self.what} {name}", where=where, hint=hint)
        return found

    def get(self, key: K) -> V | None:
        """The entry of a key; None where there is none."""
        if key not in self._entries:
            self._load()
        return self._entries.get(key)

    def __getitem__(self, key: K) -> V:
        return self.find(key)

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[K]:
        self._load()
        return iter(list(self._entries))

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def values(self) -> list[V]:
        """Every entry."""
        return [self._entries[key] for key in self]

    def _load(self) -> None:
        if self._package is not None:
            load_all(self._package)


def load_all(package: str) -> None:
    """Import every module of a package's folder, each once, in the order of their names; those in folders below it are not."""
    room = importlib.import_module(package)
    for module in sorted(pkgutil.iter_modules(room.__path__), key=lambda each: each.name):
        importlib.import_module(f"{package}.{module.name}")


def _text(key: Hashable) -> str:
    return key.__name__ if isinstance(key, type) else str(key)
