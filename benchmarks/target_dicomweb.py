"""How fast a DICOMweb target takes instances, beside a loop that posts them one by one.

The server is Orthanc with its DICOMweb plug-in. A second table is one object of 1 GB, for its memory.
"""

import sys
from functools import partial
from pathlib import Path

from deliveries import deliver, works
from rounds import Case, alternate, options, show, workplace


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.orthanc import orthanc


ONE_BY_ONE = "httpx, one by one"


def main() -> None:
    """Measure small instances, then a large one, which the loop streams from the disk, too."""
    arguments = options(__doc__).parse_args()
    with (
        workplace(arguments) as home,
        orthanc(home / "orthanc", dicomweb=True) as peer,
    ):
        for words, files, rounds in works(arguments):
            loop = "httpx" if len(files) > 1 else "httpx-streamed"
            cases: dict[str, Case] = {
                name: partial(deliver, "stow.py", how, peer.dicomweb, files=files, home=home)
                for name, how in ((ONE_BY_ONE, loop), ("crossdock", "crossdock"))
            }
            show(f"STOW-RS, {words}", alternate(cases, rounds), ONE_BY_ONE)


if __name__ == "__main__":
    main()
