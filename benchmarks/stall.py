"""Peers as users run them, with Nagle's algorithm on: DCMTK with itself, and with us in between.

DCMTK in its default settings waits 40 ms in each exchange with itself.
"""

from datasets import generate
from receive import case as receiving
from rounds import alternate, options, show, workplace
from send import case as sending
from senders import crossdock, dcmsend

from peers import bare, storescp


_FEW = 100
"""Files that DCMTK sends to itself: at 40 ms each, all of them would take minutes."""


def main() -> None:
    """Measure both directions."""
    arguments = options(__doc__).parse_args()
    defaults: dict[str, str] = {}
    with workplace(arguments) as home:
        small = generate("B", arguments.data, quick=arguments.quick)
        large = generate("A", arguments.data, quick=arguments.quick)
        with (
            storescp(home / "1", "--ignore", environment=defaults) as theirs,
            bare(home / "2") as ours,
        ):
            sender = dcmsend(defaults)
            receive = {
                "storescp": receiving(theirs, sender, small[:_FEW], 1),
                "crossdock bare": receiving(ours, sender, small, 1),
            }
            title = "receive 20 KB instances from dcmsend in default settings"
            show(title, alternate(receive, arguments.rounds), "storescp")
            port = theirs.server.port
            send = {
                "dcmsend": sending(port, sender, large[:_FEW], 1),
                "crossdock": sending(port, crossdock(home), large, 1),
            }
            title = "send 0.5 MB instances to storescp in default settings"
            show(title, alternate(send, arguments.rounds), "dcmsend")


if __name__ == "__main__":
    main()
