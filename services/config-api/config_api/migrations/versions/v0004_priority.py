"""How urgent deliveries are, and whose fallback got them."""

import sqlalchemy as sa
from alembic import op


revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; what was routed before is normal, and went where it should."""
    for name, length, usual in (("priority", 16, "normal"), ("instead_of", 64, "")):
        kind = sa.String(length=length)
        op.add_column("deliveries", sa.Column(name, kind, nullable=False, server_default=usual))
