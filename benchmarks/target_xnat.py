"""How fast an XNAT target takes instances, beside a plain loop that posts one file after another.

The server is the small one of our tests, in Python, and a process of its own: it is most of what
is measured, so the CPU of the sender says more than the rate. A second table is one object of
1 GB, for its memory.
"""

import os
import shutil
import sys
from pathlib import Path

from deliveries import deliver, works
from processes import free_port, serving
from rounds import Case, Sample, alternate, options, show, workplace


LOOP = "loop, one by one"
_TESTS = Path(__file__).parents[1] / "tests"


def case(how: str, files: list[Path], home: Path) -> Case:
    """Return a case: put the files into a server that is new."""
    directory = home / "xnat"

    def run() -> Sample:
        port = free_port()
        directory.mkdir()
        server = [sys.executable, _TESTS / "servers" / "xnat.py", directory, port]
        path = os.pathsep.join(filter(None, (str(_TESTS), os.environ.get("PYTHONPATH"))))
        with serving(server, port, {"PYTHONPATH": path}):
            url = f"http://127.0.0.1:{port}"
            sample = deliver("xnat_post.py", how, url, files=files, home=home)
        shutil.rmtree(directory)
        return sample

    return run


def main() -> None:
    """Measure small instances, then a large one."""
    arguments = options(__doc__).parse_args()
    with workplace(arguments) as home:
        for words, files, rounds in works(arguments):
            cases = {
                LOOP: case("loop", files, home),
                "crossdock": case("gradual-DICOM", files, home),
                "crossdock, zip": case("DICOM-zip", files, home),
            }
            show(f"XNAT, {words}", alternate(cases, rounds), LOOP)


if __name__ == "__main__":
    main()
