"""Runs the migrations on the connection that ``config_api.database`` holds the lock with."""

from alembic import context

from config_api.tables import Base


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
