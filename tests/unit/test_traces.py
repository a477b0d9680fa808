"""Trace ids of parcels, and spans that are only made where somebody wants them."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from crossdock import traces
from crossdock.model import PART, new_id, trace_id
from ports import free_port
from servers.collector import Collector, collector


LOADED = """
import sys
from crossdock import traces
import dispatcher.__main__, receiver.__main__, receiver.router_main
end = traces.begin("router", {environment!r})
traces.record("route", "p", 0.0)
end()
print(sorted({{name.partition(".")[0] for name in sys.modules if "opentelemetry" in name}}))
"""


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


def _python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=40
    )
    return done.stdout + done.stderr


def test_a_trace_id_and_the_identifier_of_its_parcel_can_be_read_off_each_other() -> None:
    parcel = new_id()
    assert len(trace_id(parcel)) == 32
    assert trace_id(parcel)[:26] == parcel
    assert trace_id(parcel + PART) == trace_id(parcel)


def test_a_directory_of_any_name_has_a_trace_id() -> None:
    found = trace_id("p1")
    assert len(found) == 32
    assert set(found) <= set("0123456789abcdef")
    assert found != trace_id("p2")


def test_nothing_of_opentelemetry_is_loaded_where_nobody_wants_traces() -> None:
    assert "[]" in _python(LOADED.format(environment={}))
    off = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}
    assert "[]" in _python(LOADED.format(environment=off))


def test_without_the_extra_a_service_goes_on_and_says_what_to_install() -> None:
    wanted = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    missing = "import sys\nsys.modules['opentelemetry'] = None\n"
    said = _python(missing + LOADED.format(environment=wanted))
    assert "traces.unavailable" in said
    assert "pip install 'crossdock[traces]'" in said


def test_all_steps_of_a_parcel_hang_below_its_first_whoever_tells_of_them(
    spans: Collector,
) -> None:
    parcel, other = new_id(), new_id()
    end = traces.begin("router")
    traces.record("attempt", parcel, 12.0, 14.5, failure="refused", target="archive", attempt=2)
    traces.record("receive", parcel, 10.0, 11.0, first=True, instances=3)
    traces.record("route", other, 10.0, 11.0)
    end()
    attempt, receive, route = spans.seen
    assert {attempt.trace, receive.trace} == {trace_id(parcel)}
    assert attempt.parent == receive.span
    assert not receive.parent
    assert route.trace == trace_id(other)
    assert (attempt.seconds, attempt.failed) == (2.5, "refused")
    assert receive.failed == ""
    assert attempt.attributes == {
        "crossdock.parcel": parcel,
        "crossdock.target": "archive",
        "crossdock.attempt": 2,
    }
    assert {each.service for each in spans.seen} == {"crossdock-router"}


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_sampler_takes_all_spans_of_a_parcel_or_none(
    sampler: str, spans: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    end = traces.begin("router")
    for parcel in (new_id() for _ in range(100)):
        traces.record("receive", parcel, 10.0, 11.0, first=True)
        traces.record("route", parcel, 11.0, 12.0)
    end()
    by_trace = [each.trace for each in spans.seen]
    assert 20 < len(set(by_trace)) < 80
    assert all(by_trace.count(each) == 2 for each in by_trace)


def test_a_collector_that_is_away_keeps_no_service_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    end = traces.begin("router")
    traces.record("route", new_id(), 10.0, 11.0)
    begun = time.monotonic()
    end()
    assert time.monotonic() - begun < 8
