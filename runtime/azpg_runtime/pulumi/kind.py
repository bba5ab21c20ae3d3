"""What a resource type's inputs are in ARM, and what ARM's answer is as outputs: functions of JSON values."""

from __future__ import annotations

import json
import re
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from azpg.azure.regions import check_region, short_name
from azpg.errors import UsageError

Json = dict[str, Any]

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How Pulumi writes a value that a preview does not know yet."""

_PARAMETER = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
_SCOPES = ("scope", "resourceUri")
"""Parameters that are whole ids."""
_ITEM = ("id", "name", "type", "etag")


@dataclass(frozen=True)
class Kind:
    """A resource type; the fields are those of kinds.toml."""

    token: str
    path: str
    api: str
    name: str | None = None
    top: tuple[str, ...] = ()
    raw: bool = False
    uuid: bool = False
    untracked: bool = False
    nested: tuple[str, ...] = ()
    delete: str = "delete"
    purge: str | None = None
    replace: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> list[str]:
        """The inputs that the path is made of."""
        return [name for name in _PARAMETER.findall(self.path) if name != "subscriptionId"]

    @property
    def located(self) -> bool:
        """Whether it has a location and tags."""
        return not self.untracked and "location" in self.replace

    def id(self, inputs: Json, subscription: str) -> str:
        """The resource's id in ARM."""
        values = {**inputs, "subscriptionId": subscription}
        path = _PARAMETER.sub(lambda found: str(values[found[1]]), self.path)
        return "/" + path.lstrip("/")

    def remains(self, resource_id: str, outputs: Json) -> str | None:
        """The id of what ARM keeps of a deleted resource, or None if that is nothing."""
        names, location = self.parse(resource_id), outputs.get("location")
        if self.purge is None or names is None or not isinstance(location, str):
            return None
        values = {**names, "location": short_name(location)}
        return _PARAMETER.sub(
            lambda found: str(values[found[1]]),
            self.purge.replace("{subscriptionId}", resource_id.split("/")[2]),
        )

    def parse(self, resource_id: str) -> Json | None:
        """The inputs that an id holds, or None if it is another type's."""
        pattern = re.escape(self.path).replace(r"\{", "{").replace(r"\}", "}")
        pattern = _PARAMETER.sub(
            lambda found: f"(?P<{found[1]}>.+)" if found[1] in _SCOPES else f"(?P<{found[1]}>[^/]+)",
            pattern,
        )
        found = re.fullmatch(pattern, resource_id, re.IGNORECASE)
        if not found:
            return None
        return {name: value for name, value in found.groupdict().items() if name != "subscriptionId"}

    def check(self, inputs: Json, old: Json, logical_name: str, location: str | None, seed: bytes) -> Json:
        """Inputs with what people may leave out: the name, as before or made up, and the location."""
        checked = dict(inputs)
        if self.name and self.name not in checked:
            checked[self.name] = old.get(self.name) or self._made_up(logical_name, seed)
        if self.located and "location" not in checked and (place := old.get("location") or location):
            checked["location"] = place
        return checked

    def _made_up(self, logical_name: str, seed: bytes) -> str:
        if self.uuid:
            return str(uuid.UUID(bytes=seed[:16], version=4))
        return f"{logical_name}{seed.hex()[:8]}"

    def wrong(self, inputs: Json) -> Iterator[tuple[str, str]]:
        """The inputs of which there is no path, or no region, and why."""
        for name in self.parameters:
            value = inputs.get(name, "")
            if name not in inputs:
                yield name, f"{self.token} needs {name}."
            elif not isinstance(value, str) or not value:
                yield name, f"{name} must be a text that is not empty."
            elif "/" in value and name not in _SCOPES:
                yield name, f"{name} is {value!r}: use a name without /."
        location = inputs.get("location", UNKNOWN)
        if self.located and location != UNKNOWN and str(location).lower() != "global":
            try:
                check_region(str(location))
            except UsageError as error:
                yield "location", str(error)

    def body(self, inputs: Json) -> Json:
        """What PUT sends."""
        beside = {"location", "tags", *self.top} if not self.untracked else set(self.top)
        body: Json = {}
        properties: Json = {}
        for key, value in inputs.items():
            if key in self.parameters or value is None or key.startswith("__"):
                continue
            (body if key in beside or self.raw else properties)[key] = self._wire(key, value)
        if not self.raw and (properties or self.untracked):
            body["properties"] = properties
        return body

    def _wire(self, key: str, value: Any) -> Any:
        if key == "identity" and isinstance(value, dict):
            assigned = value.get("userAssignedIdentities")
            if isinstance(assigned, list):
                return {**value, "userAssignedIdentities": {one: {} for one in assigned}}
            return value
        if isinstance(value, list):
            items = [self._wire("", one) for one in value]
            return [_deepen(one) for one in items] if key in self.nested else items
        if isinstance(value, dict):
            members = {name: self._wire(name, one) for name, one in value.items()}
            return _deepen(members) if key in self.nested else members
        return value

    def outputs(self, answer: Json) -> Json:
        """A GET's answer as azure-native shows it: `properties` are on top, unless the inputs have them."""
        outputs = {key: value for key, value in answer.items() if key != "properties"}
        properties = answer.get("properties") or {}
        if self.raw:
            outputs["properties"] = properties
        else:
            outputs |= {key: self._flat(key, value) for key, value in properties.items()}
        outputs["azureApiVersion"] = self.api
        return outputs

    def _flat(self, key: str, value: Any) -> Any:
        if isinstance(value, list):
            items = [self._flat("", one) for one in value]
            return [_flatten(one) for one in items] if key in self.nested else items
        if isinstance(value, dict):
            members = {name: self._flat(name, one) for name, one in value.items()}
            return _flatten(members) if key in self.nested else members
        return value

    def live(self, inputs: Json, answer: Json) -> Json:
        """The inputs as they are in reality: what ARM has of them; what it never tells, as it was."""
        outputs = self.outputs(answer)
        path = self.parameters
        return {
            key: value if key in path or key not in outputs else _project(key, value, outputs[key])
            for key, value in inputs.items()
        }

    def imported(self, resource_id: str, answer: Json) -> Json:
        """Inputs for a resource that Pulumi has not made."""
        read_only = {"id", "type", "systemData", "azureApiVersion", "etag", "name"} - set(self.parameters)
        outputs = {key: value for key, value in self.outputs(answer).items() if key not in read_only}
        return {**outputs, **(self.parse(resource_id) or {})}

    def replaces(self, path: str) -> bool:
        """Whether a change at `path` (`a.b[0].c`) needs a new resource."""
        plain = re.sub(r"\[\d+\]", "", path)
        return plain in self.parameters or any(
            plain == rule or plain.startswith((f"{rule}.", f"{rule}[")) for rule in self.replace
        )


def _deepen(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    outer = {key: value for key, value in item.items() if key in _ITEM}
    inner = {key: value for key, value in item.items() if key not in _ITEM}
    return {**outer, "properties": inner} if inner else outer


def _flatten(item: Any) -> Any:
    if not isinstance(item, dict) or not isinstance(item.get("properties"), dict):
        return item
    return {**{key: value for key, value in item.items() if key != "properties"}, **item["properties"]}


def _project(key: str, wanted: Any, real: Any) -> Any:
    """`real` as far as `wanted` speaks of it; where they mean the same, `wanted`."""
    if same(key, wanted, real):
        return wanted
    if key == "tags" or real is None:
        return real
    if isinstance(wanted, list) and isinstance(real, dict):  # identities: a list as input, a mapping in ARM
        return [*(one for one in wanted if one in real), *(one for one in real if one not in wanted)]
    if isinstance(wanted, dict) and isinstance(real, dict):
        names = _assigned(wanted, real) if key == "userAssignedIdentities" else wanted
        return {name: _project(name, one, real[name]) if name in real else one for name, one in names.items()}
    if isinstance(wanted, list) and isinstance(real, list) and len(wanted) == len(real):
        return [_project("", one, other) for one, other in zip(wanted, real, strict=True)]
    return real


def _assigned(wanted: Json, real: Json) -> Json:
    """The identities that there are, as they are wanted where they are."""
    spelled = {id_.lower(): id_ for id_ in wanted}
    return {spelled.get(id_.lower(), id_): wanted.get(spelled.get(id_.lower(), ""), {}) for id_ in real}


def same(key: str, one: Any, other: Any) -> bool:
    """Whether two values mean the same to Azure: the case of ids and regions does not count."""
    if isinstance(one, str) and isinstance(other, str):
        if key == "location":
            return short_name(one) == short_name(other)
        if one.startswith("/") and other.startswith("/"):
            return one.lower() == other.lower()
    return bool(one == other)


_ABSENT = object()


def changes(old: Any, new: Any, path: str = "", key: str = "") -> Iterator[tuple[str, str]]:
    """Where two inputs differ, as (path, "add" | "delete" | "update")."""
    if all(isinstance(one, dict) or one is _ABSENT for one in (old, new)):
        before, after = (one if one is not _ABSENT else {} for one in (old, new))
        for name in sorted({*before, *after}):
            if not name.startswith("__"):
                inner = _inside(path, name)
                yield from changes(before.get(name, _ABSENT), after.get(name, _ABSENT), inner, name)
    elif isinstance(old, list) and isinstance(new, list):
        for index, (one, other) in enumerate(zip_longest(old, new, fillvalue=_ABSENT)):
            item = f"{path}[{index}]"
            within = list(changes(one, other, item))
            if not within and (one is _ABSENT) != (other is _ABSENT):  # an object without members is an item
                within = [(item, "add" if one is _ABSENT else "delete")]
            yield from within
    elif old is _ABSENT:
        yield path, "add"
    elif new is _ABSENT:
        yield path, "delete"
    elif not same(key, old, new):
        yield path, "update"


def _inside(path: str, name: str) -> str:
    """The path of a member, as Pulumi reads it: a name that is no word, such as a tag's, is in quotes."""
    if not _WORD.fullmatch(name):
        return f"{path}[{json.dumps(name, ensure_ascii=False)}]"
    return f"{path}.{name}" if path else name


@cache
def kinds() -> Mapping[str, Kind]:
    """Every resource type, by its token."""
    table = tomllib.loads(Path(__file__).with_name("kinds.toml").read_text())
    return {token: Kind(token=token, **_frozen(row)) for token, row in table.items()}


def _frozen(row: Json) -> Json:
    row = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    if "replace" in row:
        row["replace"] = dict(_rules(row["replace"]))
    return row


def _rules(table: Json, path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        inner = f"{path}.{name}" if path else name
        if isinstance(value, str):
            yield inner, value
        else:
            yield from _rules(value, inner)
