"""The study's paper: what its tables say, as numbers, sentences and tables, and the text that they are set into."""
