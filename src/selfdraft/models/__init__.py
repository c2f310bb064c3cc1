"""The target, its KV cache, and the parts of draft models."""
