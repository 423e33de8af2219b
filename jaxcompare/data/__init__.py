"""Images: where they come from, which of them a run trains on, and how they reach the train step."""
