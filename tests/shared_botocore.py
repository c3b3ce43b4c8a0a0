"""Compute once what each session and client of botocore would compute again, which takes longer than most tests."""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import botocore.session
from botocore import hooks
from botocore.client import ClientCreator
from botocore.model import ServiceModel


def share() -> None:
    """Share models, client methods, signatures of event handlers and event names among all sessions."""
    botocore.session.create_loader = cache(botocore.session.create_loader)
    accepts = lru_cache(512)(vars(hooks)["accepts_kwargs"])
    vars(hooks)["accepts_kwargs"] = lambda handler: accepts(getattr(handler, "__func__", handler))
    aliaser: Any = hooks.EventAliaser
    make: Callable[..., None] = aliaser.__init__
    names: dict[str, str] = {}

    def make_with_names(self: Any, *given: Any) -> None:  # noqa: ANN401  (of botocore)
        make(self, *given)
        self._alias_name_cache = names

    aliaser.__init__ = make_with_names
    vars(hooks)["_PrefixTrie"]._recursive_copy = _copy_trie
    _share_models()


def _share_models() -> None:
    creator: Any = ClientCreator
    load, make = creator._load_service_model, creator._create_methods
    models: dict[tuple[object, ...], ServiceModel] = {}
    methods: dict[ServiceModel, dict[str, object]] = {}

    def load_once(self: Any, *given: Any) -> ServiceModel:  # noqa: ANN401  (of botocore)
        key = (self._loader, *given)
        if key not in models:
            models[key] = load(self, *given)
        return models[key]

    def make_once(self: Any, model: ServiceModel) -> dict[str, object]:  # noqa: ANN401  (of botocore)
        if model not in methods:
            methods[model] = make(self, model)
        return methods[model].copy()

    creator._load_service_model, creator._create_methods = load_once, make_once


def _copy_trie(self: object, node: dict[str, Any]) -> dict[str, Any]:
    """Copy a node of the event handlers, as botocore does, but without checking the type of each value."""
    made = node.copy()
    if "_root" in node:
        made["_root"] = _copy_trie(self, node["_root"])
        return made
    made["children"] = {name: _copy_trie(self, child) for name, child in node["children"].items()}
    if handlers := node["values"]:
        made["values"] = hooks.NodeList(*(part.copy() for part in handlers))
    return made
