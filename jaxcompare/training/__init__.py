"""From a config to a record: the pure steps, and the loop that runs them."""
