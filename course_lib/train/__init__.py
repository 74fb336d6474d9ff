"""Makes the shipped weights: `python -m course_lib.train NAME`."""
