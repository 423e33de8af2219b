"""Statistics over seeds and training-set sizes. Numbers in, numbers out: no records, no files, no drawing."""
