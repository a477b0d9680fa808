"""Worker processes that serve associations side by side, behind the ports of one receiver.

The receiver accepts each connection and hands it to the worker that has the fewest; a worker owns
its associations and the parcels that they fill. What all must agree on, the limits and the
configuration, stays with the receiver::

    receiver ── nursery ── worker 1 … worker N      who forks whom
       └──────── channel ─────┴─────────┘           connections, words (words.py)
"""
