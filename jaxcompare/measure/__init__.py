"""Clocks, compile counts, costs by formula, and the machine a number was measured on."""
