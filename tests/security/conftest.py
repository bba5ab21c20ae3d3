"""What every test of this folder starts from."""

from __future__ import annotations

import pytest

from azpg_runtime.models import ModelStore


@pytest.fixture(scope="session", autouse=True)
def filled_store(model_store: ModelStore) -> ModelStore:
    """The store that all homes share has its model before the first test, whichever that is."""
    return model_store
