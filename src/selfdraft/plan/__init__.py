"""What a study costs before anything is run: Snakemake's own jobs, a measured run's seconds scaled, and disk."""
