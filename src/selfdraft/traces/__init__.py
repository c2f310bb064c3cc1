"""What came of each drafted token: watched while it is generated, kept as JSON, shown as a page."""
