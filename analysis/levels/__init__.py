"""Level means of a curve and their covariance: seeds, shared seeds, two levels, the test set."""
