"""What the verbs cost, beside what the bare driver costs, in one run."""
