"""Models and text in: package index, hub or local path to one plain format on disk."""
