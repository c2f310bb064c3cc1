"""From captured hidden states to trained draft models."""
