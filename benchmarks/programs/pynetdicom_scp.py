"""pynetdicom's SCP as its documentation writes it: ``pynetdicom_scp.py PORT DIRECTORY``.

``--encoded`` at the end writes the bytes as they came, without decoding them.
"""

import sys
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event


def main(port: int, directory: Path, *options: str) -> None:
    """Serve until SIGTERM, with a file for each instance."""

    def store(event: Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        ds.save_as(directory / ds.SOPInstanceUID, enforce_file_format=True)
        return 0

    def store_encoded(event: Event) -> int:
        (directory / event.request.AffectedSOPInstanceUID).write_bytes(event.encoded_dataset())
        return 0

    ae = AE("ANY-SCP")
    ae.maximum_pdu_size = 131072
    ae.supported_contexts = AllStoragePresentationContexts
    handler = store_encoded if "--encoded" in options else store
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, handler)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
