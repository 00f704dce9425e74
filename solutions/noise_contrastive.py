"""Noise-contrastive estimation."""
