"""What the two networks learned: measures of trained parameters and images."""
