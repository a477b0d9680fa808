"""How urgent deliveries are."""

import sqlalchemy as sa
from alembic import op


revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; what was routed before is normal."""
    column = sa.Column("priority", sa.String(length=16), nullable=False, server_default="normal")
    op.add_column("deliveries", column)
