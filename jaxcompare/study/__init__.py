"""The speed study: which cells, what a fresh process does for each, and in what order."""
