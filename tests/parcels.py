"""Parcels in a spool, made as the receiver makes them."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from crossdock.dicom.part10 import file_meta, read_file_meta
from crossdock.messages import DeliveryRouted
from crossdock.model import Instance, Priority, delivery_id, new_id
from crossdock.spool import Origin, Routed, Spool, StoredParcel


def make_spool(directory: Path) -> Spool:
    spool = Spool(directory)
    spool.prepare()
    return spool


def store_parcel(spool: Spool, paths: Sequence[Path], *, series: str = "1.2.3.4") -> StoredParcel:
    """Put files into the spool as one closed parcel."""
    origin = Origin(
        id=new_id(),
        store_node="main",
        calling_ae_title="CT1",
        address="10.0.0.7",
        study_instance_uid="1.2.3",
        series_instance_uid=series,
        received_at=time.time(),
    )
    opened = spool.open_parcel(origin)
    instances = []
    for number, path in enumerate(paths, 1):
        arrival = spool.arrival()
        meta = read_file_meta(path)
        known = {
            "sop_class_uid": meta.sop_class_uid,
            "sop_instance_uid": meta.sop_instance_uid,
            "transfer_syntax_uid": meta.transfer_syntax_uid,
            "calling_ae_title": "CT1",
            "called_ae_title": "CROSSDOCK",
            "address": "10.0.0.7",
        }
        arrival.write([file_meta(**known), path.read_bytes()[meta.dataset_offset :]])
        opened.add(arrival, number)
        instances.append(Instance(number=number, size=arrival.size, **known))
    opened.close(spool.parcels, tuple(instances))
    found = spool.find(origin.id)
    assert found is not None
    return found


def route(
    stored: StoredParcel,
    *targets: str,
    protocol: str = "folder",
    instances: Iterable[int] | None = None,
    revision: int = 1,
    priority: Priority = Priority.NORMAL,
) -> list[DeliveryRouted]:
    """Write the markers of a parcel; return the messages that go with them."""
    numbers = None if instances is None else tuple(instances)
    routed = [
        Routed(
            target=target,
            protocol=protocol,
            rules=("everything",),
            revision=revision,
            at=time.time(),
            instances=numbers,
            priority=priority,
        )
        for target in targets
    ]
    stored.route(routed)
    return [
        DeliveryRouted(
            delivery=delivery_id(stored.id, each.target),
            parcel=stored.id,
            target=each.target,
            protocol=protocol,
            rules=each.rules,
            instances=len(numbers or stored.parcel.instances),
            revision=revision,
            at=each.at,
            priority=priority,
        )
        for each in routed
    ]
