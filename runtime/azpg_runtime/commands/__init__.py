"""The twin's part of the command line. Modules here import heavy libraries inside their functions."""
