"""What a study file says: arms, tasks, seeds, a plan; and the runs that follow from it."""
