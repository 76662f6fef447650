"""A library's log belongs to the app: standard output stays clean, structlog is used where the app set it up."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from sojourn.logs import get_log


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def test_without_structlog_it_speaks_through_logging(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="sojourn.test"):
        get_log("sojourn.test").info("agent.connected", agent="ward-7")
    assert caplog.messages == ["agent.connected agent='ward-7'"]
    assert capsys.readouterr().out == ""


def test_below_warnings_it_is_silent_until_asked(caplog: pytest.LogCaptureFixture) -> None:
    log = get_log("sojourn.test")
    log.info("quiet")
    log.warning("loud", percent="100%s")
    assert caplog.messages == ["loud percent='100%s'"]


def test_an_app_that_configured_structlog_gets_events_and_fields() -> None:
    seen: list[dict[str, object]] = []

    def take(_logger: object, method: str, event: dict[str, object]) -> str:
        seen.append({"level": method, **event})
        raise structlog.DropEvent

    structlog.configure(processors=[take], logger_factory=structlog.ReturnLoggerFactory())
    get_log("sojourn.test").error("coordinator.refused", why="no certificate")
    assert seen == [{"level": "error", "event": "coordinator.refused", "why": "no certificate"}]
