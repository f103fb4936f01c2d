"""Backpropagation through time, and what to do where it is too long: algorithms over functions and containers."""

from .truncated import truncated

__all__ = ["truncated"]
