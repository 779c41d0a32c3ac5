"""One file a law: what is here is found, and needs no entry anywhere else."""
