"""One module a stage of the command line: its arguments, and the call that does the work."""
