"""Doors to what JAX and PyTorch do not promise: private names, undocumented ones, and texts, keys and events that may
change with a version.

All of them stand in this package, each behind a function that says what it relies on and which versions it was seen
with. `tests/test_compat.py` opens each door, and says which part of this package fails without it. Neither framework is
imported before a function that needs it is called: a process of one of them does not load the other.
"""
