"""What a plan changes for the whole server: allow-list, preloaded libraries, databases, settings, models."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from azpg.profiles import NEEDS_PRELOAD
from azpg_provision.plan.change import Action, Kind
from azpg_provision.plan.plan import Draft
from azpg_provision.plan.state import State
from azpg_provision.spec.identifier import quoted
from azpg_provision.spec.model import LOCAL_AI, Model, Spec

RETIRED = (
    f"this server does not offer {LOCAL_AI}, which was retired on 2025-03-21: use azure_ai with Azure OpenAI "
    "embeddings on this server, or a local twin (target local), where it works"
)


def plan_server(spec: Spec, state: State, draft: Draft) -> None:
    """Adds what is missing to `draft`."""
    wanted = list(dict.fromkeys(one.name for database in spec.databases for one in database.extensions))
    _extensions(wanted, spec.server.allow, state, draft)
    _preload(wanted, spec, state, draft)
    for database in spec.databases:
        if database.name not in state.server.databases:
            draft.add(Action.CREATE, Kind.DATABASE, quoted(database.name), after={})
    _settings(spec, state, draft)
    for model in spec.models:
        _model(model, state, draft)


def _extensions(wanted: list[str], beyond: Iterable[str], state: State, draft: Draft) -> None:
    server = state.server
    missing: list[str] = []
    for name in dict.fromkeys([*wanted, *beyond]):
        if server.offered is not None and name not in server.offered:
            draft.refuse(_not_offered(name, server.offered))
        elif name in wanted and name not in server.available:
            draft.refuse(_not_there(name, server.name))
        elif server.allowed is not None and name not in server.allowed:
            missing.append(name)
        if name not in wanted and name not in server.available:
            draft.notes.append(
                f"{server.name} does not have the extension {name}: allow-listed or not, CREATE EXTENSION "
                "does not find it."
            )
    if missing and not server.manageable:
        value = ",".join([*(server.allowed or ()), *missing])
        draft.refuse(
            f"{', '.join(missing)} must be allow-listed, which a plain connection cannot do: set the server "
            f"parameter azure.extensions to {value}, or name the server itself (target azure, stack or local)"
        )
        return
    for name in missing:
        draft.add(Action.CREATE, Kind.ALLOWED_EXTENSION, name, after=True)


def _not_offered(name: str, offered: Iterable[str]) -> str:
    if name == LOCAL_AI:
        return RETIRED
    near = get_close_matches(name, offered, n=1)
    meant = f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(offered))}"
    return f"this server does not offer the extension {name}: {meant}"


def _not_there(name: str, target: str) -> str:
    if name == LOCAL_AI:
        return RETIRED
    return (
        f"{target} does not have the extension {name}: leave it out, or use a server that has it; "
        "`azpg up NAME --pg-config PATH` makes a local one of any PostgreSQL, and `azpg help extensions` "
        "says what each has"
    )


def _preload(wanted: list[str], spec: Spec, state: State, draft: Draft) -> None:
    server = state.server
    needed = list(dict.fromkeys([*(name for name in wanted if name in NEEDS_PRELOAD), *spec.server.preload]))
    if server.preload is None:
        if needed:
            draft.notes.append(
                f"shared_preload_libraries cannot be seen on {server.name}; it must hold {', '.join(needed)}."
            )
        return
    draft.notes += [
        f"{name} is in shared_preload_libraries of {server.name}, and {why}."
        for name, why in server.missing_libraries.items()
        if name in server.preload
    ]
    missing = [name for name in needed if name not in server.preload]
    for name in missing:
        if server.preloadable is not None and name not in server.preloadable:
            draft.refuse(f"{server.name} cannot preload {name}: leave it out")
        elif name in server.missing_libraries:
            draft.refuse(f"{server.name}: {name} is {server.missing_libraries[name]}")
    if missing and not server.manageable:
        value = ",".join([*server.preload, *missing])
        draft.refuse(
            f"{', '.join(missing)} must be preloaded, which a plain connection cannot do: set the server "
            f"parameter shared_preload_libraries to {value} and restart the server"
        )
        return
    for name in missing:
        draft.add(Action.CREATE, Kind.PRELOADED_LIBRARY, name, after=True)
    if server.manageable and (missing or (needed and server.pending_restart)):
        draft.add(
            Action.UPDATE,
            Kind.RESTART,
            server.name,
            note="ends every session on the server; needs --allow-restart",
        )


def _settings(spec: Spec, state: State, draft: Draft) -> None:
    live = state.server.settings or {}
    for name, value in spec.server.settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if live.get(name) != text:
            action = Action.UPDATE if name in live else Action.CREATE
            draft.add(action, Kind.SETTING, name, before=live.get(name), after=text)


def _model(model: Model, state: State, draft: Draft) -> None:
    models = state.server.models
    known = (models or {}).get(model.uri)
    if known is None:
        registered = state.server.registered if models is None else frozenset[str]()
        if registered is not None and model.uri in registered:
            return
        if (trouble := state.server.model_troubles.get(model.uri)) is not None:
            draft.refuse(f"the model {model.uri} cannot be registered: {trouble.rstrip('.')}")
            return
        note = "registered once azure_local_ai is there, unless it is already" if registered is None else ""
        draft.add(Action.CREATE, Kind.MODEL, model.uri, after={"path": model.source}, note=note)
    elif "/" not in model.source and known.get("name") not in {None, model.source}:
        # No more than a note: a model's own name need not be the store's.
        draft.notes.append(
            f"{model.uri} is registered as {known['name']}, and a URI stays bound to its model for good: if "
            f"{model.source} is another one, give it another URI, such as {model.uri.partition(':')[0]}:v2."
        )
