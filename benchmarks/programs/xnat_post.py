"""Puts files into XNAT: ``xnat_post.py HOW URL LIST``, HOW being loop or an import handler.

The loop posts one file after the other over one connection and session, as a script would. It
prints wall and CPU seconds from the first file on, and the bytes of memory above those before, for
a gateway does not start an interpreter for each delivery.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from folder import memory, outgoing

from crossdock.config.snapshot import parse_object
from crossdock.protocols import adapter_for


sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from servers.xnat_state import PASSWORD, PROJECT, USER


Send = Callable[[], None]


def by_loop(url: str, paths: list[Path]) -> Send:
    """Return what posts the files one by one."""
    client = httpx.Client(base_url=url, timeout=60, trust_env=False)
    session = client.post("/data/JSESSION", auth=(USER, PASSWORD)).text
    client.cookies.clear()
    query = {
        "import-handler": "gradual-DICOM", "inbody": "true", "rename": "true",
        "PROJECT_ID": PROJECT, "SUBJECT_ID": "loop", "EXPT_LABEL": "loop",
    }  # fmt: skip
    headers = {"Cookie": f"JSESSIONID={session}", "Content-Type": "application/dicom"}

    def send() -> None:
        for path in paths:
            with path.open("rb") as file:
                size = {"Content-Length": str(path.stat().st_size)}
                answer = client.post(
                    "/data/services/import", params=query, headers=headers | size, content=file
                )
            client.cookies.clear()
            assert answer.text.startswith("/data/prearchive/projects/"), answer

    return send


def by_crossdock(url: str, handler: str, paths: list[Path]) -> Send:
    """Return what sends the files as one delivery."""
    settings = {
        "name": "benchmark", "type": "xnat", "url": url, "user": USER, "password": PASSWORD,
        "project": PROJECT, "import_handler": handler,
    }  # fmt: skip
    adapter = adapter_for(parse_object("targets", settings))  # type: ignore[arg-type]  # a target
    instances = [outgoing(number, path) for number, path in enumerate(paths, 1)]
    assert adapter.check().green

    def send() -> None:
        assert all(outcome.confirmed for outcome in adapter.send(instances))
        adapter.finish(instances)

    return send


def main(how: str, url: str, listed: str) -> None:
    """Put the files there."""
    paths = [Path(line) for line in Path(listed).read_text().splitlines()]
    send = by_loop(url, paths) if how == "loop" else by_crossdock(url, how, paths)
    idle = memory("VmRSS")
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    send()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(seconds, used, memory("VmHWM") - idle)


if __name__ == "__main__":
    main(*sys.argv[1:])
