"""What the two networks learned: measures of trained parameters and images. Arrays in, arrays out; no files."""
