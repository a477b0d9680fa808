"""What became of a study can be followed by one trace id: in spans, in the log, in the ledger."""

import json
from pathlib import Path

from flow.test_operators import run, send, two_folders
from ports import free_port
from running import running
from servers.collector import Seen, collector
from studies import PATIENT, make_ct
from waiting import until


def test_receiving_routing_and_every_attempt_are_spans_of_the_trace_that_log_and_ledger_name(
    tmp_path: Path, folder: Path
) -> None:
    document = two_folders(folder, port := free_port())
    archive = {"name": "archive", "type": "dicom", "host": "127.0.0.1", "port": free_port()}
    document["targets"].append(archive | {"called_ae_title": "ARCHIVE"})
    document["rules"][0]["targets"].append("archive")
    with collector() as spans:
        wanted = {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with running(tmp_path / "data", document, None, **wanted) as gateway:
            send(port, make_ct(tmp_path / "ct", 3))
            (done,) = until(lambda: gateway.deliveries(state="delivered"), what="it is delivered")
            (waiting,) = until(lambda: gateway.deliveries(target="archive"), what="it waits")
            trace = done["trace_id"]
            assert waiting["trace_id"] == trace
            assert f"trace: {trace}" in run(gateway, "deliveries", "show", done["id"])
            assert f"trace: {trace}" in run(gateway, "parcels", "show", done["parcel"])
            until(lambda: {"unreachable", "delivered"} <= _outcomes(spans.seen), what="attempts")
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line[:1] == "{"]
    events = {line["event"] for line in lines if line.get("trace_id") == trace}
    assert {"parcel.closed", "parcel.routed", "delivery.delivered", "delivery.retry"} <= events

    assert {each.trace for each in spans.seen} == {trace}
    (receive,) = [each for each in spans.seen if each.name == "receive"]
    assert receive.service == "crossdock-receiver"
    assert receive.attributes["crossdock.instances"] == 3
    assert {each.parent for each in spans.seen if each is not receive} == {receive.span}
    (route,) = [each for each in spans.seen if each.name == "route"]
    assert (route.service, route.attributes["crossdock.result"]) == ("crossdock-router", "routed")
    failed = next(each for each in spans.seen if each.failed)
    assert failed.attributes["crossdock.target"] == "archive"
    assert PATIENT.split("^")[0] not in repr(spans.seen)
    assert done["study_instance_uid"] not in repr(spans.seen)


def _outcomes(seen: list[Seen]) -> set[str | int]:
    return {each.attributes["crossdock.outcome"] for each in seen if each.name == "attempt"}
