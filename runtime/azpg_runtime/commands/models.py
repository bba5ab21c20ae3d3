"""`azpg models list|pull|add|remove`: the model store that all instances share."""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from azpg.output import err, out, print_json
from azpg_runtime.commands.arguments import Json
from azpg_runtime.home import Home

app = typer.Typer(no_args_is_help=True, help="Look after the embedding models that all local servers share.")

ModelName = Annotated[
    str, typer.Argument(help="The model's name in the store, such as multilingual-e5-small.")
]


def open_store() -> Any:
    """The store below AZPG_HOME, made if need be."""
    from azpg_runtime.models import ModelStore  # noqa: PLC0415

    home = Home.from_environment()
    home.create()
    return ModelStore(home.models)


@app.command("list")
def list_(*, json: Json = False) -> None:
    """List the models of the store, and those that can be pulled."""
    from azpg_runtime.models.catalog import CATALOG  # noqa: PLC0415

    found = open_store().list()
    names = {model.name for model in found}
    missing = [name for name in CATALOG if name not in names]
    if json:
        models = [_facts(model) for model in found]
        print_json({"version": 1, "models": models, "can_be_pulled": missing})
        return
    table = Table("name", "dimensions", "max tokens", "licence", "digest", box=None, pad_edge=False)
    for model in found:
        about = model.description
        table.add_row(
            model.name, str(about.dimensions), str(about.max_tokens), about.licence, model.digest[:12]
        )
    if found:
        out().print(table)
    for name in missing:
        out().print(f"[dim]can be had:[/] azpg models pull {name}")


@app.command()
def pull(name: ModelName, *, json: Json = False) -> None:
    """Fetch a model into the store: the only command that downloads anything."""
    from azpg_runtime.models.pull import pull as fetch  # noqa: PLC0415

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err(),
        transient=True,
        disable=not err().is_terminal,
    ) as bars:
        tasks: dict[str, Any] = {}

        def progress(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total or None)
            bars.update(tasks[file], completed=done, total=total or None)

        model = fetch(name, open_store(), progress=progress)
    _report(model, "is in the store", json=json)


@app.command()
def add(
    name: ModelName,
    folder: Annotated[
        Path, typer.Argument(help="A folder with the model's files, as on the Hugging Face hub.")
    ],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let the name stand for this model from now on.")
    ] = False,
    json: Json = False,
) -> None:
    """Add a folder: tokenizer.json with model.onnx, or with model.safetensors and config.json."""
    _report(open_store().add(name, folder, replace=replace), "is in the store", json=json)


@app.command()
def remove(name: ModelName, *, json: Json = False) -> None:
    """Remove a model's name from the store."""
    open_store().remove(name)
    if json:
        print_json({"version": 1, "name": name, "removed": True})
    else:
        out().print(f"[bold]{name}[/] is no longer in the store; registered URIs keep their content")


def _report(model: Any, what: str, *, json: bool) -> None:
    if json:
        print_json({"version": 1, **_facts(model)})
    else:
        about = model.description
        out().print(
            f"[bold]{model.name}[/] {what}: {about.dimensions} dimensions, up to {about.max_tokens} tokens"
        )


def _facts(model: Any) -> dict[str, Any]:
    return {**loads(model.description.to_json()), "name": model.name}
