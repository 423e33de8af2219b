"""JAX in the speed study: every way to execute a cell, timed, traced, and held against the reference."""
