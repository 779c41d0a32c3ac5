"""MLflow's view of a study, which the store can rebuild."""
