"""Finds a model's state dictionary in what a checkpoint holds: below which keys it lies, and behind which prefix.

Training scripts wrap it (`{"state_dict": ...}`, `{"model_ema": ...}`) and put prefixes before its names (`module.`,
`_orig_mod.`, `backbone.`). Both are found by looking where the model's own names turn up, so any word will do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

DEPTH = 4  # dictionaries inside dictionaries
DICTIONARIES = 64  # of them that are looked at
PREFIXES = 4  # of one dictionary that are tried
# Parts of names that torch's wrappers put anywhere, and that no module calls its own.
WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}
AVERAGED = ("ema", "averaged", "swa")  # of several that fit, averaged weights are what a training script evaluates
USUAL = {"state_dict", "model", "module"}  # what training scripts call the weights that they go on with
SHOWN = 3


@dataclass(frozen=True)
class Candidate:
    """Tensors that may be the model's.

    Attributes:
        at: keys of the dictionaries around it, outermost first.
        prefix: what stands before the model's names; ends in a dot or is empty.
        tensors: by the model's names.
        outside: names of the same dictionary that do not start with the prefix.
        matched: how many are names of the model.
    """

    at: tuple[str, ...]
    prefix: str
    tensors: dict[str, Tensor]
    outside: tuple[str, ...]
    matched: int

    @property
    def place(self) -> str:
        """Where it lies, for a person."""
        parts = [f"under {' / '.join(map(repr, self.at))}"] if self.at else []
        return " ".join([*parts, *([f"behind {self.prefix!r}"] if self.prefix else [])])

    @property
    def rank(self) -> tuple[int, int, int]:
        """Order of preference among those that fit: averaged weights, a teacher's, the least wrapped, the usual words."""
        words = [word for part in (*self.at, self.prefix) for word in part.lower().replace(".", "_").split("_")]
        kind = 0 if any(word in AVERAGED for word in words) else 1 if "teacher" in words else 2
        around = (*self.at, *self.prefix.split(".")[:-1])
        return kind, len(around), sum(part not in USUAL for part in around)


def candidates(held: Mapping[Any, Any], own: Collection[str]) -> list[Candidate]:
    """All that may be the model's tensors, the most names matched first.

    Args:
        held: what the checkpoint holds.
        own: names of the model's own tensors.
    """
    found: list[Candidate] = []
    for at, raw in _dictionaries(held):
        tensors = _unwrapped(raw)
        matches = _prefixes(tensors, own)
        matches.setdefault("", 0)
        shared = _shared_prefix(tensors)
        matches.setdefault(shared, 0)  # names that only the model's own filter knows
        for prefix, matched in matches.most_common(PREFIXES) + [(shared, matches[shared]), ("", matches[""])]:
            mine = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix) and k != prefix}
            outside = tuple(k for k in tensors if not k.startswith(prefix))
            one = Candidate(at, prefix, mine, outside, matched)
            if not any((c.at, c.prefix) == (at, prefix) for c in found):
                found.append(one)
    return sorted(found, key=lambda c: (-c.matched, c.rank))


def some(names: Iterable[str]) -> str:
    """The first few names and how many more there are, for an error's line."""
    every = list(names)
    shown = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in every[:SHOWN])
    return f"{shown} and {len(every) - SHOWN} more" if len(every) > SHOWN else shown


def _dictionaries(held: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every dictionary that holds tensors by name, with the keys that lead to it; a few levels deep."""
    queue: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), held)]
    seen: set[int] = set()
    while queue and len(seen) < DICTIONARIES:
        at, mapping = queue.pop(0)
        if id(mapping) in seen:
            continue
        seen.add(id(mapping))
        tensors = {k: v for k, v in mapping.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if tensors:
            yield at, tensors
        if len(at) < DEPTH:
            inner = ((k, v) for k, v in mapping.items() if isinstance(k, str) and isinstance(v, Mapping))
            queue += [((*at, k), v) for k, v in inner]


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the names of torch's wrappers, unless two would become one."""
    plain = {".".join(part for part in k.split(".") if part not in WRAPPERS): v for k, v in tensors.items()}
    return plain if len(plain) == len(tensors) else tensors


def _prefixes(tensors: Iterable[str], own: Collection[str]) -> Counter[str]:
    """How many of the model's names stand behind each prefix."""
    names, count = set(own), Counter[str]()
    for key in tensors:
        parts = key.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in names:
                count["".join(f"{part}." for part in parts[:i])] += 1
    return count


def _shared_prefix(tensors: Collection[str]) -> str:
    """The first part of every name, with its dot, where they all have the same."""
    first = {key.partition(".")[0] for key in tensors}
    return f"{first.pop()}." if len(first) == 1 and all("." in key for key in tensors) else ""
