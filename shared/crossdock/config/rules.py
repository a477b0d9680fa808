"""Rules: which parcels go to which targets."""

from pydantic import Field, field_validator

from crossdock.config.expression import Expression
from crossdock.config.fields import Configured, Name, Text
from crossdock.model import Priority


class Rule(Configured):
    """Sends instances for which ``when`` is true to ``targets``; without ``when``, all."""

    name: Name
    enabled: bool = True
    when: Text | None = Field(
        None,
        description='Condition over DICOM keywords, such as `Modality == "CT"`; all if left out.',
    )
    store_nodes: tuple[Name, ...] = Field(
        (), description="Only what came in through these store nodes; all if left out."
    )
    targets: tuple[Name, ...] = Field(min_length=1, description="Where it goes.")
    fallback: Name | None = Field(
        None, description="Target for what these do not take, instead of their own fallbacks."
    )
    priority: Priority = Field(
        Priority.NORMAL,
        description="How urgent its deliveries are; of several rules the most urgent counts.",
    )
    description: Text = ""

    @field_validator("when")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            Expression(value)
        return value

    @field_validator("targets", "store_nodes")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({name for name in value if value.count(name) > 1})
        if repeated:
            raise ValueError(f"named twice: {', '.join(repeated)}")
        return value
