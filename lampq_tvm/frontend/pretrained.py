"""The file that timm's published weights of a model are read from, so that results can be told apart by its content."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import timm
from timm.models import _builder, _hub

from lampq_tvm.errors import UsageError
from lampq_tvm.frontend.timm_source import check_name, not_fetched
from lampq_tvm.quiet import quiet


def pretrained_file(name: str) -> Path:
    """The file that timm loads, in the hub's cache or torch's, fetched where it is not there or no longer the newest.

    Raises:
        UnsupportedError: timm has no such model. UsageError: it has no weights of it, or they cannot be fetched.
    """
    check_name(name)
    config = timm.get_pretrained_cfg(name)
    kind, place = ("", "") if config is None else _builder._resolve_pretrained_source(config.to_dict())
    try:
        with quiet():
            if kind == "hf-hub":
                return _from_hub(place)
            if kind == "url":
                return Path(_hub.download_cached_file(place, check_hash=False))
    except Exception as e:  # the hub's client and the socket raise different kinds
        raise not_fetched(name, e) from e
    raise UsageError("timm has no weights of this model", where=name, hint="give the weights with --checkpoint")


def _from_hub(place: Any) -> Path:
    """The file of a repository that timm takes: safetensors where they are, as it looks for them."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository, wanted = place if isinstance(place, list | tuple) else (place, _hub.HF_WEIGHTS_NAME)
    owner, revision = _hub.hf_split(repository)
    safe = [] if wanted.endswith(".safetensors") else list(_hub._get_safe_alternatives(wanted))
    for file in safe:
        with contextlib.suppress(EntryNotFoundError):
            return Path(hf_hub_download(owner, file, revision=revision))
    return Path(hf_hub_download(owner, wanted, revision=revision))
