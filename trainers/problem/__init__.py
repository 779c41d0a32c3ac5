"""The learning problem: laws of X_0, the forward process, training, holdout and test sets."""
