"""Shape checks on for every call in the tests; paths of the optional reference data."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("digit", "beartype.beartype")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference numbers and real frames that lie beside a developer's checkout."""
    if not SHARED.is_dir():
        pytest.skip("the reference data is not beside this checkout")
    return SHARED
