"""What an attack tried, as tests: each one that broke in fails on the code before its cure."""
