"""Sampling policies, the accept/reject rule, and the speculative loop."""
