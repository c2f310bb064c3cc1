"""Drafts that leave this machine and come back: a folder with a model card, to a hub and from one."""
