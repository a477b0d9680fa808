"""Puts files into XNAT: ``xnat_post.py HOW URL LIST``, HOW being loop or an import handler.

The loop posts one file after the other over one connection and session, as a script would. Either
is logged in before it is measured.
"""

import sys
from pathlib import Path

import httpx
from measured import Send, delivery, listed, measure


sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from servers.xnat_state import PASSWORD, PROJECT, USER


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
        "type": "xnat", "url": url, "user": USER, "password": PASSWORD,
        "project": PROJECT, "import_handler": handler,
    }  # fmt: skip
    return delivery(settings, paths)


def main(how: str, url: str, names: str) -> None:
    """Put the files there."""
    paths = listed(names)
    measure(by_loop(url, paths) if how == "loop" else by_crossdock(url, how, paths))


if __name__ == "__main__":
    main(*sys.argv[1:])
