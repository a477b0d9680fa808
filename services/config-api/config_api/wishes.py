"""What people send along with a request on parcels and deliveries."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crossdock.config.snapshot import field_problems
from crossdock.errors import ConfigError


_MOST = 10_000

ReasonText = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
TargetName = Annotated[str, Field(min_length=1, max_length=64)]


class Reason(BaseModel):
    """Why a person stops something or gives it up."""

    reason: ReasonText


class Filter(BaseModel):
    """Which unfinished deliveries are meant: those that fit all that is given."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["waiting", "held"] | None = None
    target: TargetName | None = Field(None, description="Name of the target.")
    study: Annotated[str, Field(max_length=128)] | None = Field(
        None, description="StudyInstanceUID."
    )
    parcel: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Identifier of the parcel."
    )
    ids: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=_MOST)] | None = (
        Field(None, description="Identifiers of deliveries.")
    )

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if all(value is None for value in self.criteria().values()):
            raise ValueError("say which deliveries: by state, target, study, parcel or ids")
        return self

    def criteria(self) -> dict[str, Any]:
        """Return what to choose by; None where it does not matter."""
        return {name: getattr(self, name) for name in Filter.model_fields}

    def words(self) -> str:
        """Return the filter in one line, for the record."""
        given = {name: value for name, value in self.criteria().items() if value is not None}
        if self.ids is not None:
            given["ids"] = f"{len(self.ids)} deliveries"
        return "deliveries with " + ", ".join(f"{name} {value}" for name, value in given.items())


class DiscardFilter(Filter):
    """Which unfinished deliveries are given up, and why."""

    reason: ReasonText


class Move(BaseModel):
    """Where a delivery is to go instead."""

    model_config = ConfigDict(extra="forbid")

    target: TargetName


class Send(BaseModel):
    """Where a parcel is to be sent, and what of it."""

    model_config = ConfigDict(extra="forbid")

    target: TargetName
    instances: (
        Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=100_000)] | None
    ) = Field(None, description="Numbers of the parcel's instances; null is all of them.")


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], body: dict[str, Any]) -> Model:
    """Return what a request's body says.

    Raises:
        ConfigError: every field that is wrong.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise ConfigError(field_problems(error)) from None
