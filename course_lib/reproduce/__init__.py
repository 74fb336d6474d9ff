"""The papers' tables, recomputed: `python -m course_lib.reproduce NAME`."""
