"""Images under the names that the Dockerfile and docker-compose.yml use, where there is no registry.

They are made from Debian's packages: what the names promise, in Debian's versions. So they show
that our files and these programs fit together, and say nothing about the official images.
"""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from servers import require
from stack.engine import Engine


_HERE = Path(__file__).parent / "standins"
_CA = Path("/etc/ssl/certs/ca-certificates.crt")
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
_SECONDS = 400


@dataclass(frozen=True)
class Root:
    """A root file system: Debian's packages, and commands that make of it what a name promises."""

    packages: Sequence[str]
    commands: Sequence[str]
    images: dict[str, Sequence[str]]
    """Name → changes in the words of a Dockerfile."""


def _roots(names: dict[str, str]) -> list[Root]:
    """Return what is needed; ``names`` are the images by what they are."""
    trusting = [
        "ENV PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
        f"ENV PIP_CERT={_CA} SSL_CERT_FILE={_CA}",
    ]
    python = Root(
        ["ca-certificates", "python3", "python3-venv"],
        ['ln -s /usr/bin/python3 "$1/usr/local/bin/python"'],
        {names["python"]: [*trusting, 'CMD ["python"]']},
    )
    servers = Root(
        ["orthanc", "postgresql", "rabbitmq-server"],
        [
            'rm -rf "$1/etc/orthanc" "$1/var/lib/postgresql" && mkdir "$1/etc/orthanc"',
            'chroot "$1" install -d -o root -g root /var/lib/orthanc /var/lib/orthanc/db',
            'chroot "$1" install -d -o postgres -g postgres -m 3777 /run/postgresql',
            'ln -s "$(cd "$1" && echo usr/lib/postgresql/*/bin)" "$1/pg"',
            'chroot "$1" install -d -o postgres -g postgres /var/lib/postgresql/data',
            f'install -m 755 "{_HERE}/postgres.sh" "$1/usr/local/bin/docker-entrypoint.sh"',
        ],
        {
            names["rabbitmq"]: [
                "ENV PATH=/usr/lib/rabbitmq/bin:/usr/bin:/usr/sbin:/bin:/sbin",
                "ENV HOME=/var/lib/rabbitmq RABBITMQ_LOGS=-",
                'CMD ["rabbitmq-server"]',
            ],
            names["postgres"]: [
                "ENV PATH=/pg:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin PGDATA=/var/lib/postgresql/data",
                'ENTRYPOINT ["docker-entrypoint.sh"]',
                'CMD ["postgres"]',
            ],
            names["orthanc"]: ['ENTRYPOINT ["/usr/sbin/Orthanc"]', 'CMD ["/etc/orthanc/"]'],
        },
    )
    return [python, servers]


def make(engine: Engine, names: dict[str, str], directory: Path) -> None:
    """Make all images, the root file systems side by side."""
    roots = _roots(names)
    archives = [directory / f"crossdock-test-root-{number}.tar" for number in range(len(roots))]
    with ThreadPoolExecutor(len(roots)) as pool:
        list(pool.map(_bootstrap, roots, archives))
    for root, archive in zip(roots, archives, strict=True):
        engine.docker("import", archive, archive.stem, seconds=_SECONDS)
        archive.unlink()
        for name, changes in root.images.items():
            context = directory / name.partition(":")[0]
            context.mkdir(parents=True)
            (context / "Dockerfile").write_text("\n".join([f"FROM {archive.stem}", *changes]))
            engine.docker("build", "--tag", name, context, seconds=_SECONDS)


def _bootstrap(root: Root, archive: Path) -> None:
    hooks = [*root.commands, f'install -D -m 644 {_CA} "$1{_CA}"']
    subprocess.run(
        [
            require("mmdebstrap"),
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(root.packages)}",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            *(f"--customize-hook={hook}" for hook in hooks),
            _codename(),
            str(archive),
            *(str(path) for path in _SOURCES if path.is_file()),
        ],
        env={**os.environ, "TMPDIR": str(archive.parent)},
        check=True,
        timeout=_SECONDS,
    )


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    return said["VERSION_CODENAME"].strip('"')
