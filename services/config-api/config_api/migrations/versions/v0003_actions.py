"""What people had done to deliveries, and deliveries that are sent again."""

import sqlalchemy as sa
from alembic import op


revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table, and add the columns that tell the runs of a delivery apart."""
    op.create_table(
        "actions",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("outcome", sa.String(length=2000), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.add_column("deliveries", sa.Column("again_at", sa.Double(), nullable=True))
    op.add_column("deliveries", sa.Column("finished_again_at", sa.Double(), nullable=True))
