"""The store: packs on disk or on object storage, and who may write."""
