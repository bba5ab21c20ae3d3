"""Paths of Azure Resource Manager."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.arm.address import Address
from azpg_runtime.errors import ArmRefusal

GROUP = "/subscriptions/S/resourceGroups/G"
SERVER = f"{GROUP}/providers/Microsoft.DBforPostgreSQL/flexibleServers/s"


@pytest.mark.parametrize(
    ("path", "kind", "is_resource"),
    [
        ("/", "", False),
        ("/subscriptions", "subscriptions", False),
        ("/subscriptions/S", "subscriptions", True),
        ("/subscriptions/S/resourcegroups", "subscriptions/resourcegroups", False),
        (GROUP, "subscriptions/resourcegroups", True),
        (f"{GROUP}/resources", "subscriptions/resourcegroups/resources", False),
        ("/subscriptions/S/providers", "subscriptions/providers", False),
        ("/subscriptions/S/providers/Microsoft.X", "microsoft.x", False),
        ("/subscriptions/S/operationresults/1", "subscriptions/operationresults", True),
        ("/providers/Microsoft.X/getY", "microsoft.x/gety", False),
        (SERVER, "microsoft.dbforpostgresql/flexibleservers", True),
        (f"{SERVER}/restart", "microsoft.dbforpostgresql/flexibleservers/restart", False),
        (f"{SERVER}/databases/d", "microsoft.dbforpostgresql/flexibleservers/databases", True),
        (f"{SERVER}/providers/Microsoft.Authorization/locks/l", "microsoft.authorization/locks", True),
        (f"{SERVER}/providers/Microsoft.Authorization/locks", "microsoft.authorization/locks", False),
    ],
)
def test_what_paths_name(path: str, kind: str, is_resource: bool) -> None:
    found = Address.parse(path)
    assert (found.kind, found.is_resource) == (kind, is_resource)
    assert str(found) == ("" if path == "/" else path)


def test_what_lies_in_what() -> None:
    database = Address.parse(f"{SERVER}/databases/d")
    server = Address.parse(SERVER)
    group = Address.parse(GROUP)
    lock = Address.parse(f"{SERVER}/databases/d/providers/Microsoft.Authorization/locks/l")
    assert (lock.parent, database.parent, server.parent) == (database, server, group)
    assert group.parent == Address.parse("/subscriptions/S")
    assert {one.group for one in (lock, database, server, group)} == {group}
    assert {one.subscription for one in (lock, database, server, group)} == {"S"}
    assert Address.parse(f"{SERVER}/databases").parent == server
    assert Address.parse("/providers/Microsoft.X/y").subscription is None
    assert Address.parse("/subscriptions/S/providers/Microsoft.X/y/z").group is None


@pytest.mark.parametrize("path", ["//", "/a//b", f"{GROUP}//x"])
def test_empty_segments(path: str) -> None:
    if path == "//":
        assert str(Address.parse(path)) == ""
        return
    with pytest.raises(ArmRefusal, match="has an empty segment"):
        Address.parse(path)


_word = st.text(st.characters(blacklist_characters="/", blacklist_categories=("Cs",)), min_size=1, max_size=8)


@given(st.lists(_word, max_size=12))
def test_a_path_is_what_its_parts_are(segments: list[str]) -> None:
    path = "".join(f"/{one}" for one in segments)
    found = Address.parse(path)
    # The word itself may be written in any case, and stands where a namespace follows.
    assert str(found).lower() == path.lower() or "providers" in path.lower()
    assert Address.parse(str(found)) == found
    for one in found.chain():
        assert len(one.types) - len(one.names) in {0, 1}


@given(st.lists(_word.filter(lambda one: one.lower() != "providers"), min_size=1, max_size=8))
def test_case_changes_no_key(segments: list[str]) -> None:
    path = "".join(f"/{one}" for one in segments)
    assert Address.parse(path).key == Address.parse(path.lower()).key
