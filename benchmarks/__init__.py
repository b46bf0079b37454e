"""How fast the pipeline is, beside what it could be: each figure and what it is compared with come from one run."""
