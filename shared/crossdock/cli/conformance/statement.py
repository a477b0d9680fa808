"""The statement as a whole, in the order of PS3.2."""

from crossdock import __version__
from crossdock.cli.conformance import annex, commitment, store_node, surroundings, target, web
from crossdock.cli.conformance.text import joined, named, table
from crossdock.dicom.uids import STORAGE_COMMITMENT, VERIFICATION


def statement() -> str:
    """Return the conformance statement, as Markdown."""
    text = joined(
        _HEAD.format(version=__version__),
        _overview(),
        _INTRODUCTION,
        _MODEL,
        store_node.section(),
        target.section(),
        commitment.section(),
        web.section(),
        surroundings.section(),
        annex.section(),
    )
    return text + "\n"


_HEAD = """
# DICOM conformance statement of Crossdock {version}

`crossdock conformance` prints this page from the program's own tables, defaults and answers; it is not written by hand.
It follows PS3.2. Crossdock is no medical device.

## 1 Overview

Crossdock is a gateway: it stores what modalities and archives send to its store nodes, and sends it on to the targets that
its rules say. It creates no instances and changes none, unless a transfer syntax has to be converted ([5.2](#52-what-is-sent)).
"""


def _overview() -> str:
    services = (
        ("Storage (all SOP classes, see 4.2)", "yes", "yes"),
        (named(VERIFICATION), "yes", "yes"),
        (named(STORAGE_COMMITMENT), "yes", "yes, where a store node has `commitment`"),
        ("DICOMweb STOW-RS (PS3.18 10.5)", "yes, as user agent", "no"),
        ("DICOMweb QIDO-RS (PS3.18 10.6)", "only to ask whether an instance is there", "no"),
    )
    words = "Not supported: Query/Retrieve, Modality Worklist, MPPS, Print, media interchange."
    return joined(table(("service", "user (SCU)", "provider (SCP)"), services), words)


_INTRODUCTION = """
## 2 Introduction

**For whom.** Administrators of PACS and networks, medical physicists, and vendors who want to connect to it. **What it is not**:
a promise that two devices work together; that is found out by trying, for which `crossdock check TARGET` and a C-ECHO to a store node are there.

**Words.** A *store node* is a listening AE. A *target* is a configured peer that Crossdock sends to. A *parcel* is the instances
of one series that arrived together, a *delivery* one parcel for one target. SCU, SCP, SOP, AE, PDU as in the standard.

**Numbers in hexadecimal** are status codes: `A700`. PS3.x are parts of the DICOM standard.
"""

_MODEL = """
## 3 Implementation model

```
 sender ── C-STORE, C-ECHO, N-ACTION ──▶ store node ──▶ spool ──▶ rules ──▶ delivery ──▶ DICOM target ── C-STORE, C-ECHO, N-ACTION ──▶ peer
 sender ◀── N-EVENT-REPORT ─────────── commitment reports                            └─▶ DICOMweb target ── STOW-RS ──▶ server
```

| AE | activities | begins associations | accepts associations |
| --- | --- | --- | --- |
| store node | receives and keeps instances; answers verification and requests for storage commitment; hears results of storage commitment | no | yes |
| DICOM target | sends instances; asks for storage commitment; checks by verification and by what is accepted | yes | no |
| commitment reports | tells senders the results of their requests | yes | no |
| DICOMweb target | sends instances over HTTP | HTTP requests | no |

Each store node has an AE title of its own, and each target the AE title that it calls with; any number of both may be configured. What is
received is answered with success once it is on stable storage, and sent on afterwards, in an order of the rules' priorities. Nothing is sent to a target
before the association that brought it has ended, a quiet time has passed or a limit of size was reached.
"""
