"""What a person asks of the router: to retry, route again, or give up."""

from http import HTTPStatus

from config_api.answers import Done
from config_api.configuration import Conflict
from config_api.web.problems import Refusal
from crossdock.bus import Bus
from crossdock.bus.topology import SPOOL
from crossdock.errors import NoReply
from crossdock.messages import Message, RequestFinished


_TIMEOUT_SECONDS = 10.0


def ask_router(bus: Bus, request: Message) -> Done:
    """Have the router carry out a request on the spool.

    Raises:
        Conflict: the router says why it cannot be done.
        Refusal: nobody answered; it may or may not be done later.
        BusError: the broker did not take the request.
    """
    try:
        answer = bus.request(SPOOL, request, timeout=_TIMEOUT_SECONDS)
    except NoReply:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE, "The router does not answer: is it running?"
        ) from None
    if not isinstance(answer, RequestFinished):
        raise TypeError(f"the router answered {answer.type}")
    if not answer.done:
        raise Conflict(answer.detail)
    return Done(detail=answer.detail)
