"""Names that are derived: the same for the same stack, and always ones that Azure takes."""

from __future__ import annotations

import re
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_infra import naming
from azpg_infra.config import GROUP, NAME
from azpg_infra.preload import merged

STACKS = st.text(max_size=100) | st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True)


@settings(deadline=None)
@given(stack=STACKS, prefix=st.sampled_from(["azpg", "azpg-ai", "azpg-logs"]))
def test_any_stack_has_names_that_azure_takes(stack: str, prefix: str) -> None:
    name = naming.unique(prefix, subscription="s", group="g", stack=stack)
    assert name
    assert re.fullmatch(NAME, name)
    assert "--" not in name
    assert re.fullmatch(GROUP, naming.group(stack))


def test_names_depend_on_subscription_group_and_stack() -> None:
    def name(subscription: str, group: str, stack: str) -> str:
        return naming.unique("azpg", subscription=subscription, group=group, stack=stack)

    names = [
        name("s", "g", "dev"),
        name("other", "g", "dev"),
        name("s", "other", "dev"),
        name("s", "g", "dev-2"),
    ]
    assert len(set(names)) == 4
    assert name("S", "G", "Dev") == names[0], "Azure does not tell cases apart"


def test_a_role_assignment_is_named_after_what_it_says() -> None:
    one = naming.role_assignment(scope="/a", principal="p", role="r")
    assert str(UUID(one)) == one
    assert one == naming.role_assignment(scope="/A", principal="P", role="R")
    others = [("/b", "p", "r"), ("/a", "q", "r"), ("/a", "p", "s")]
    assert one not in {naming.role_assignment(scope=a, principal=b, role=c) for a, b, c in others}


@settings(deadline=None)
@given(
    libraries=st.lists(st.sampled_from(["age", "auto_explain", "pg_cron", "pgaudit"])),
    extensions=st.lists(st.sampled_from(["vector", "age", "timescaledb", "pg_stat_statements"])),
)
def test_preloaded_libraries_are_merged(libraries: list[str], extensions: list[str]) -> None:
    value = merged(libraries, extensions=extensions)
    names = (value or "pg_cron,pg_stat_statements").split(",")
    assert names[:2] == ["pg_cron", "pg_stat_statements"], "the default comes first and is never lost"
    assert len(names) == len(set(names))
    assert set(names) >= {*libraries, *({"age", "timescaledb"} & set(extensions))}
    assert (value is None) == (len(names) == 2)
