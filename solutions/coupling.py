"""Coupling layers."""
