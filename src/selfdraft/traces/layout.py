"""What a trace's file says first, and the names of the phases of a cycle: without torch, for who only reads it."""

FORMAT = 1  # of the file; a page is made of this one alone
PHASES = ("draft_s", "verify_s", "accept_s")
