"""What a study costs, predicted from its config and measured costs before anything is run."""
