"""What an archive does not take goes to its fallback, and both deliveries say so."""

import subprocess
from pathlib import Path

from crossdock.cli.demo import demo_gateway
from ports import free_port
from running import running
from servers import require
from servers.dcmtk import storescp
from studies import by_uid, make_mixed
from waiting import until


def test_a_refused_delivery_is_held_and_its_fallback_gets_it(tmp_path: Path, folder: Path) -> None:
    private = make_mixed(tmp_path / "study")[-1]
    gateway = demo_gateway(folder)
    gateway["store_nodes"][0]["port"] = port = free_port()
    name = gateway["targets"][0]["name"]
    archive = {"name": "archive", "type": "dicom", "host": "127.0.0.1", "fallback": name}
    gateway["rules"][0]["targets"] = ["archive"]
    # Without -pm storescp takes no SOP class that it does not know.
    with storescp(tmp_path / "strict", "+B") as strict:
        gateway["targets"].append(archive | {"port": strict.port, "called_ae_title": "ARCHIVE"})
        with running(tmp_path / "data", gateway, CROSSDOCK_RETRY_SCALE="0.001") as crossdock:
            command = [require("dcmsend"), "-aec", "CROSSDOCK", "-nuc", "-dn", "127.0.0.1"]
            subprocess.run([*command, str(port), str(private)], check=True, capture_output=True)
            until(lambda: crossdock.deliveries(state="delivered"), what="the fallback has it")
            assert list(by_uid(list(folder.rglob("*.dcm")))) == list(by_uid([private]))
            (given,) = crossdock.deliveries(state="delivered")
            assert (given["target"], given["instead_of"]) == (name, "archive")
            until(lambda: crossdock.deliveries(state="held"), what="the archive's is held")
            (held,) = crossdock.deliveries(state="held")
            assert f"its fallback target {name} gets what is missing, 1 in number" in held["reason"]
