"""Importance sampling."""
