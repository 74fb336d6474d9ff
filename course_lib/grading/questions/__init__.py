"""One module an assignment; each holds its `ASSIGNMENT`."""
