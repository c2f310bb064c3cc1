"""A reproducible study of early-exit and self-speculative drafting for language models."""

__version__ = "0.1.0"
