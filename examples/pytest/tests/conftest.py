"""What every test's database has."""

import notebook


def pytest_azpg_template(connection):
    """Called once in a run: what is made here is copied for each test."""
    notebook.create_tables(connection)
