"""Migrations, on both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from config_api.configuration import Configuration
from config_api.database import Database, DatabaseUnavailable
from config_api.tables import Base


def driver(url):
    return url.replace("postgresql://", "postgresql+psycopg://")


def test_migrations_make_exactly_the_tables_of_the_models(database, database_url):
    del database
    engine = create_engine(driver(database_url))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_processes_that_start_at_once_migrate_once(database_url, bus):
    databases = [Database(database_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.prepare, databases))
    for database in databases:
        assert database.problem() is None
        assert Configuration(database, bus).current().number == 1
        database.close()


def test_preparing_again_keeps_what_is_there(database, database_url, bus):
    del database
    again = Database(database_url)
    again.prepare()
    assert [r.number for r in Configuration(again, bus).revisions(None, 10)] == [1]
    again.close()


def test_a_database_of_a_newer_version_is_left_alone_and_said_so(database, database_url):
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    newer = Database(database_url)
    with pytest.raises(DatabaseUnavailable, match="newer version"):
        newer.prepare()
    assert "newer version" in newer.problem()
    newer.close()


def test_a_server_that_is_away_is_a_problem_and_no_crash(tmp_path):
    database = Database(f"postgres://u:hunter2@/x?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable) as caught:
        database.prepare()
    assert "hunter2" not in str(caught.value)
    assert database.problem() is not None
    database.close()
