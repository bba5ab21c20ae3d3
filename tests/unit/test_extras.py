"""What an extra brings is asked for by name."""

from __future__ import annotations

import pytest

from azpg.errors import NotAvailable
from azpg.extras import need


def test_what_is_installed_is_enough() -> None:
    need("this", "test", "pytest", "json.decoder")


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.inner", "json.no_such_module"])
def test_what_is_missing_is_named_by_its_extra(module: str) -> None:
    with pytest.raises(NotAvailable) as error:
        need("the ARM twin", "arm", "json", module)
    assert str(error.value) == "the ARM twin needs what the extra [arm] brings: pip install 'azpg[arm]'."
