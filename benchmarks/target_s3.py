"""How fast an S3 target takes instances, beside boto3's ``upload_file`` with four threads.

The store is SeaweedFS. A second table is one object of 1 GB, for its memory.
"""

import sys
from pathlib import Path

from datasets import KINDS, generate
from processes import run_all
from rounds import Case, Sample, alternate, options, show, workplace

from peers import PROGRAMS


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.seaweedfs import SeaweedFS, seaweedfs


BOTO3 = "boto3, 4 threads"
_GIGABYTE = 1_000_000_000


def case(store: SeaweedFS, bucket: str, home: Path, how: str, files: list[Path]) -> Case:
    """Return a case: put the files into a bucket, and look at the sender."""
    names = home / f"{how}-{len(files)}"
    names.write_text("\n".join(map(str, files)))

    def run() -> Sample:
        ran = run_all(
            [[sys.executable, PROGRAMS / "s3_put.py", how, store.url, bucket, str(names)]]
        )
        seconds, cpu, growth = map(float, ran.output[0].split())
        return Sample(len(files), seconds, cpu, ran.peak, int(growth))

    return run


def gigabyte(home: Path) -> list[Path]:
    """Write one instance of a gigabyte, mostly a hole in the file."""
    (small,) = generate("A", home, quick=True)[:1]
    path = home / "gigabyte.dcm"
    path.write_bytes(small.read_bytes())
    with path.open("r+b") as file:
        file.truncate(_GIGABYTE)
    return [path]


def main() -> None:
    """Measure small instances, then a large one."""
    arguments = options(__doc__).parse_args()
    with workplace(arguments) as home, seaweedfs() as store:
        small = generate("A", arguments.data, quick=arguments.quick)
        work = {KINDS["A"].words: (small, arguments.rounds), "1 × 1 GB": (gigabyte(home), 1)}
        for words, (files, rounds) in work.items():
            if arguments.only in words:
                bucket = store.bucket()
                cases = {
                    BOTO3: case(store, bucket, home, "boto3", files),
                    "crossdock": case(store, bucket, home, "crossdock", files),
                }
                show(f"S3, {words}", alternate(cases, rounds), BOTO3)


if __name__ == "__main__":
    main()
