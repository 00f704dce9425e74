"""Our functions beside those of the libraries a reader would otherwise use."""
