"""What a person asks of the router: to retry, send, route again, or give up."""

from http import HTTPStatus

from config_api.answers import Done
from config_api.configuration import Conflict
from config_api.web.parts import Parts
from config_api.web.problems import Refusal
from crossdock.bus import Bus
from crossdock.bus.topology import SPOOL
from crossdock.config import Target
from crossdock.errors import ConfigError, FieldProblem, NoReply
from crossdock.messages import Message, RequestFinished


_TIMEOUT_SECONDS = 10.0


def carry_out(parts: Parts, actor: str, subject: str, request: Message, words: str = "") -> Done:
    """Have the router carry out a request of somebody, and write down who asked for what.

    ``words`` is what the record says besides the outcome, such as the reason that was given.

    Raises:
        Conflict: the router says why it cannot be done.
        Refusal: nobody answered; it may or may not be done later.
        BusError: the broker did not take the request.
    """
    action = request.type.removesuffix(".requested").rpartition(".")[2]
    try:
        done = ask_router(parts.bus, request)
    except (Conflict, Refusal) as error:
        parts.actions.note(actor, action, subject, _joined(words, f"not done: {error}"))
        raise
    parts.actions.note(actor, action, subject, _joined(words, done.detail or "done"))
    return done


def _joined(*words: str) -> str:
    return "; ".join(filter(None, words))


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


def target_for(parts: Parts, name: str) -> tuple[Target, int]:
    """Return a target that deliveries may go to, and the revision of the configuration.

    Raises:
        ConfigError: there is none of that name, it is only queried, or drained.
    """
    revision = parts.configuration.current()
    target = revision.gateway.target(name)
    if target is None:
        raise ConfigError([FieldProblem("target", f"there is no target {name!r}")])
    if not target.stores:
        raise ConfigError([FieldProblem("target", f"target {name!r} is for queries only")])
    if target.draining:
        raise ConfigError([FieldProblem("target", f"target {name!r} takes no new work")])
    return target, revision.number
