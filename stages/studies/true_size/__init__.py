"""The paper preset's models at their true sizes, with random weights, through every stage: time, memory and throughput."""
