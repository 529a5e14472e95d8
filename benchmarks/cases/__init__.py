"""One module per kind of case: each turns operations into tables."""
