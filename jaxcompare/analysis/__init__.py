"""Records to numbers: statistics over seeds, training-set sizes and processes. No words, no drawing."""
