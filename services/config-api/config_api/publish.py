"""Answers services that ask for the configuration."""

import structlog

from config_api.configuration import Configuration
from config_api.database import DatabaseUnavailable
from crossdock.bus import Retry
from crossdock.messages import ConfigPublished, ConfigRequested, Message


log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 0.5


class Publisher:
    """Responds to ``config.requested``."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def respond(self, question: Message) -> ConfigPublished:
        """Return the configuration in force, without the document where the asker has it.

        Raises:
            Retry: the database is away; whoever asks works on with what it has.
            TypeError: it is no request for the configuration.
        """
        if not isinstance(question, ConfigRequested):
            raise TypeError(f"{question.type} is no request for the configuration")
        try:
            revision = self._configuration.current()
        except DatabaseUnavailable as error:
            raise Retry(_AGAIN_SECONDS) from error
        known = question.revision == revision.number and question.made_at in (0.0, revision.at)
        if question.revision > revision.number and revision.is_first:
            # A database that was lost must not take the configuration from those who still have it.
            log.error("config.lost", service=question.service, known=question.revision)
            known = True
        return ConfigPublished(
            revision=revision.number,
            made_at=revision.at,
            document=None if known else revision.document,
        )
