"""Which runs are started, where and when: the schedule, its executors, what it will take."""
