"""The spool: where everything accepted is safe until it has reached its targets.

The spool is the truth and the queues are only the schedule. Every change of state is a rename, so
that it happened or did not, whatever dies in the middle::

    incoming/<id>.part                bytes arriving
    open/<parcel>/<n>.dcm             safe (synced), parcel still growing
    parcels/<parcel>/<n>.dcm          closed, with parcel.json
    parcels/<parcel>/pending/<target> one marker per unfinished delivery: its journal
    parcels/<parcel>/held/<target>    a delivery that needs a person
    parcels/<parcel>/done/<target>    a delivery that is final
    held/<parcel>/                    nobody wanted it; never deleted by itself
    retired/<parcel>/                 all deliveries final; kept for a time while there is room
    commitments/                      what is asked and answered about storage commitment
"""

from crossdock.spool.commitment_record import CommitmentRecord
from crossdock.spool.commitments import Asked, Commitments
from crossdock.spool.incoming import Arrival
from crossdock.spool.keeping import Kept, find_kept
from crossdock.spool.marker import COMMITMENT_REPORTED, Claim, DeliveryRecord, Routed
from crossdock.spool.open_parcel import OpenParcel, Origin
from crossdock.spool.owed import Owed, OwedReports, key_of
from crossdock.spool.soundness import Problem
from crossdock.spool.spool import Spool
from crossdock.spool.stored_parcel import StoredParcel
from crossdock.spool.verify import Verified, places, verify


__all__ = [
    "COMMITMENT_REPORTED",
    "Arrival",
    "Asked",
    "Claim",
    "CommitmentRecord",
    "Commitments",
    "DeliveryRecord",
    "Kept",
    "OpenParcel",
    "Origin",
    "Owed",
    "OwedReports",
    "Problem",
    "Routed",
    "Spool",
    "StoredParcel",
    "Verified",
    "find_kept",
    "key_of",
    "places",
    "verify",
]
