"""`azpg models list|pull|add|remove|prune`: the model store that all instances share."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from azpg.confirm import confirm
from azpg.errors import AzpgError
from azpg.failures import FAILED
from azpg.output import complain, err, out, print_json, print_table, say, working
from azpg_runtime.commands.arguments import Json, Yes
from azpg_runtime.errors import ModelError, ModelNotFound
from azpg_runtime.home import Home

if TYPE_CHECKING:
    from azpg_runtime.models import ModelStore, StoredModel

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Look after the embedding models that all local servers share.",
)


def _names(incomplete: str) -> list[str]:
    """The models of the store and those that can be pulled, for a shell that completes."""
    from azpg_runtime.models.catalog import CATALOG  # noqa: PLC0415

    found: list[str] = []
    with suppress(AzpgError, OSError):
        found = open_store().names()
    return sorted(name for name in {*found, *CATALOG} if name.startswith(incomplete))


ModelName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The model's name in the store, such as multilingual-e5-small.",
        autocompletion=_names,
    ),
]


def open_store() -> ModelStore:
    """The store below AZPG_HOME."""
    from azpg_runtime.models import ModelStore  # noqa: PLC0415

    return ModelStore(Home.from_environment().models)


def open_store_to_write() -> ModelStore:
    """The store below AZPG_HOME, which is made if need be."""
    Home.from_environment().create()
    return open_store()


def fetch(name: str) -> StoredModel:
    """Pulls a model into the store, and shows how far it is."""
    from azpg_runtime.models.pull import pull as pull_model  # noqa: PLC0415

    store = open_store_to_write()
    console = err()
    if not console.is_interactive:
        return pull_model(name, store, say=say)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    label = TextColumn("{task.description}", markup=False)
    columns = (label, BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bars, ExitStack() as shown:
        tasks: dict[str, Any] = {}

        def progress(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total or None)
            bars.update(tasks[file], completed=done, total=total or None)

        def next_phase(text: str) -> None:
            console.print(Text(text, style="dim"))
            if tasks:  # all is fetched
                bars.stop()
                shown.enter_context(console.status(""))

        return pull_model(name, store, progress=progress, say=next_phase)


@app.command("list")
def list_(*, json: Json = False) -> None:
    """List the models of the store, and those that can be pulled."""
    from azpg_runtime.models.catalog import CATALOG  # noqa: PLC0415

    store = open_store()
    found, damaged = [], False
    for name in store.names():
        try:
            found.append(store.get(name))
        except ModelNotFound:  # removed since
            continue
        except ModelError as error:  # one that is damaged does not hide the others
            complain(f"{name}: {error}")
            damaged = True
    names = set(store.names())
    missing = [entry for entry in CATALOG.values() if entry.name not in names]
    if json:
        models = [_facts(model) for model in found]
        print_json({"version": 1, "models": models, "can_be_pulled": [entry.name for entry in missing]})
    else:
        _print_models(found)
        for entry in missing:
            out().print(
                f"[dim]not here yet:[/] azpg models pull {entry.name}  [dim]# {entry.size / 1e6:.0f} MB[/]"
            )
    if damaged:
        raise typer.Exit(FAILED)


@app.command()
def pull(name: ModelName, *, json: Json = False) -> None:
    """Fetch a model into the store: the only command that downloads anything."""
    _report(fetch(name), "is in the store", json=json)


@app.command()
def add(
    name: ModelName,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder with the model's files, as on the Hugging Face hub, or an .onnx file.",
        ),
    ],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let the name stand for this model from now on.")
    ] = False,
    json: Json = False,
) -> None:
    """Add a model: tokenizer.json with model.onnx, or with model.safetensors and config.json."""
    from azpg_runtime.models.catalog import CATALOG  # noqa: PLC0415

    store = open_store_to_write()
    with working(f"Adding {name}"):
        model = store.add(name, path, replace=replace)
    _report(model, "is in the store", json=json)
    entry = CATALOG.get(name)
    if entry is not None and not entry.is_content(model.description):
        complain(
            f"warning: this is not the {name} that azpg knows, from {entry.source}. Where it is registered, "
            "its URI stands for this content for ever. If that is not meant: "
            f"`azpg models remove {name}`, and add it under another name."
        )


@app.command()
def remove(name: ModelName, *, yes: Yes = False, json: Json = False) -> None:
    """Remove a model's name from the store."""
    store = open_store()
    if name in store.names():
        question = f"Remove the model {name} from the store?"
        confirm(question, yes=yes, json=json, nothing=f"{name} is still in the store.")
    store.remove(name)
    if json:
        print_json({"version": 1, "name": name, "removed": True})
    else:
        out().print(f"[bold]{name}[/] is no longer in the store; registered URIs keep their content")


@app.command()
def prune(*, yes: Yes = False, json: Json = False) -> None:
    """Delete models that have no name and that no local server has registered."""
    from azpg_runtime.host.pruning import prune as prune_models  # noqa: PLC0415

    question = "Delete all models that have no name and that no local server has registered?"
    confirm(question, yes=yes, json=json, nothing="Nothing is deleted.")
    gone = prune_models(Home.from_environment())
    size = sum(gone.values())
    if json:
        print_json({"version": 1, "digests": sorted(gone), "bytes": size})
    elif gone:
        what = "1 model is" if len(gone) == 1 else f"{len(gone)} models are"
        out().print(f"{what} deleted; {size / 1e6:,.0f} MB are free")
    else:
        out().print("Every model is needed")


def _print_models(models: list[StoredModel]) -> None:
    table = Table("name", "dimensions", "max tokens", "licence", "digest", box=None, pad_edge=False)
    for model in models:
        about = model.description
        table.add_row(
            model.name,
            str(about.dimensions),
            str(about.max_tokens),
            escape(about.licence or ""),
            model.digest[:12],
        )
    if models:
        print_table(table)


def _report(model: StoredModel, what: str, *, json: bool) -> None:
    if json:
        print_json({"version": 1, **_facts(model)})
    else:
        about = model.description
        out().print(
            f"[bold]{model.name}[/] {what}: {about.dimensions} dimensions, up to {about.max_tokens} tokens"
        )


def _facts(model: StoredModel) -> dict[str, Any]:
    return {**loads(model.description.to_json()), "name": model.name}
