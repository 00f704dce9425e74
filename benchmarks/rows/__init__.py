"""The rows: one module a chapter; each is found by itself."""
