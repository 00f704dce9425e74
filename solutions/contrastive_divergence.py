"""Contrastive divergence."""
