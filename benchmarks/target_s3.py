"""How fast an S3 target takes instances, beside boto3's ``upload_file`` with four threads.

The store is SeaweedFS. A second table is one object of 1 GB, for its memory.
"""

import sys
from functools import partial
from pathlib import Path

from deliveries import deliver, works
from rounds import Case, alternate, options, show, workplace


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.seaweedfs import seaweedfs


BOTO3 = "boto3, 4 threads"


def main() -> None:
    """Measure small instances, then a large one."""
    arguments = options(__doc__).parse_args()
    with workplace(arguments) as home, seaweedfs() as store:
        for words, files, rounds in works(arguments):
            place = (store.url, store.bucket())
            cases: dict[str, Case] = {
                name: partial(deliver, "s3_put.py", how, *place, files=files, home=home)
                for name, how in ((BOTO3, "boto3"), ("crossdock", "crossdock"))
            }
            show(f"S3, {words}", alternate(cases, rounds), BOTO3)


if __name__ == "__main__":
    main()
