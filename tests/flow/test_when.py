"""When a target gets its deliveries: in its time window, what is urgent at once, and not too fast."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crossdock.cli.demo import demo_gateway
from ports import free_port
from running import running
from servers import require
from studies import by_uid, make_ct
from waiting import until


def test_outside_its_window_a_target_gets_what_is_urgent_and_the_rest_when_it_opens(
    tmp_path: Path, folder: Path, broker: str | None
) -> None:
    opens = datetime.now(UTC) + timedelta(hours=6)
    window = {"from": f"{opens:%H:%M}", "to": f"{opens + timedelta(hours=1):%H:%M}"}
    gateway = demo_gateway(folder)
    gateway["store_nodes"][0]["port"] = port = free_port()
    target = gateway["targets"][0]
    target |= {"windows": [window], "urgent_any_time": True, "bandwidth": "100 Mbit/s"}
    stroke = {"name": "stroke", "when": 'StudyDescription == "STROKE"', "priority": "urgent"}
    gateway["rules"].append(stroke | {"targets": [target["name"]]})
    calm = make_ct(tmp_path / "calm", 3)
    urgent = make_ct(tmp_path / "urgent", 2, description="STROKE")
    with running(tmp_path / "data", gateway, broker) as crossdock:
        for files in (calm, urgent):
            command = [require("dcmsend"), "-aec", "CROSSDOCK", "127.0.0.1", str(port)]
            subprocess.run([*command, *map(str, files)], check=True, capture_output=True)
        until(lambda: crossdock.deliveries(state="delivered"), what="what is urgent is there")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(urgent)
        (waiting,) = until(lambda: crossdock.deliveries(state="waiting"), what="the rest waits")
        assert (waiting["priority"], waiting["attempts"]) == ("normal", 0)
        assert f"its time window opens {opens:%a %Y-%m-%d %H:%M} (UTC)" in waiting["reason"]
        assert datetime.fromisoformat(waiting["next_try"]) > datetime.now(UTC)
        shown = f"/api/v1/targets/{target['name']}"
        assert crossdock.api.patch(shown, json={"windows": None}).is_success
        until(lambda: not crossdock.deliveries(state="waiting"), what="the rest is there")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid([*calm, *urgent])
