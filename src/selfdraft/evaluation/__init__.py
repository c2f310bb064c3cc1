"""Quality, acceptance and speed, as raw rows."""
