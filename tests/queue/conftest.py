from collections.abc import Iterator

import pytest

from tests.postgresql import PostgreSQL


@pytest.fixture(scope="module", params=["journal", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The address of a queue of each kind; None is the journal in the study's folder."""
    if request.param == "journal":
        yield None
        return
    with PostgreSQL() as server:
        yield server.url
