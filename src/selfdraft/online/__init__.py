"""A draft that learns while it decodes: what verifications say of it, kept, weighed and learned from."""
