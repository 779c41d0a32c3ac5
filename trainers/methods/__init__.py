"""Training methods, one file each: full batch, minibatch, MLP, and the user's own."""
