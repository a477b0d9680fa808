"""How fast a DICOMweb target takes instances, beside a loop that posts them one by one.

The server is Orthanc with its DICOMweb plug-in. A second table is one object of 1 GB, for its memory.
"""

import sys
from pathlib import Path

from datasets import KINDS, generate
from processes import run_all
from rounds import Case, Sample, alternate, options, show, workplace

from peers import PROGRAMS


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.orthanc import orthanc
from servers.samples import write_instance


ONE_BY_ONE = "httpx, one by one"
_GIGABYTE = 1_000_000_000


def case(url: str, home: Path, how: str, files: list[Path]) -> Case:
    """Return a case: store the files, and look at the sender."""
    names = home / f"{how}-{len(files)}"
    names.write_text("\n".join(map(str, files)))

    def run() -> Sample:
        ran = run_all([[sys.executable, PROGRAMS / "stow.py", how, url, str(names)]])
        seconds, cpu, growth = map(float, ran.output[0].split())
        return Sample(len(files), seconds, cpu, ran.peak, int(growth))

    return run


def main() -> None:
    """Measure small instances, then a large one."""
    arguments = options(__doc__).parse_args()
    with (
        workplace(arguments) as home,
        orthanc(home / "orthanc", dicomweb=True) as peer,
    ):
        small = generate("A", arguments.data, quick=arguments.quick)
        large = home / "gigabyte.dcm"
        write_instance(large, _GIGABYTE)
        work = {
            KINDS["A"].words: (small, "httpx", arguments.rounds),
            "1 × 1 GB": ([large], "httpx-streamed", 1),
        }
        for words, (files, loop, rounds) in work.items():
            if arguments.only in words:
                cases = {
                    ONE_BY_ONE: case(peer.dicomweb, home, loop, files),
                    "crossdock": case(peer.dicomweb, home, "crossdock", files),
                }
                show(f"STOW-RS, {words}", alternate(cases, rounds), ONE_BY_ONE)


if __name__ == "__main__":
    main()
