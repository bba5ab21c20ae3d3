"""The tests of the notebook, each with a database of its own."""

import notebook
import psycopg
import pytest

NOTES = (
    "The cat sleeps on the sofa all day.",
    "Interest rates rose for the third time this year.",
    "The recipe needs two eggs and some flour.",
)


@pytest.fixture
def notes(azpg_connection):
    """A connection to a notebook with some notes in it."""
    notebook.add(azpg_connection, *NOTES)
    return azpg_connection


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("pets at home", NOTES[0]),
        ("what is in the news about money", NOTES[1]),
        ("let us bake a cake", NOTES[2]),
    ],
)
def test_a_note_is_found_by_what_it_means(notes, question, found):
    assert notebook.search(notes, question, limit=1) == [found]


def test_a_changed_note_is_found_by_what_it_means_now(notes):
    notes.execute("UPDATE notes SET body = 'The dog barks at the postman.' WHERE body = %s", [NOTES[2]])
    assert notebook.search(notes, "pets at home", limit=2) == [NOTES[0], "The dog barks at the postman."]


def test_a_new_notebook_is_empty(azpg_connection):
    assert notebook.search(azpg_connection, "anything") == []


def test_a_note_needs_a_body(azpg_connection):
    with pytest.raises(psycopg.errors.NotNullViolation):
        notebook.add(azpg_connection, None)


def test_the_program_prints_what_it_finds(notes, azpg_dsn, capsys):
    notebook.main(azpg_dsn, "let us bake a cake")
    assert capsys.readouterr().out.splitlines()[0] == NOTES[2]
