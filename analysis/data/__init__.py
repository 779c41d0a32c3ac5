"""Results tables: schema and loading, columns read lazily, curves and sweeps."""
