"""Gates without Python: `ensemble.toml`, read, described by a JSON Schema, and written for the first time."""
