"""What is compared: definitions, questions, spaces and budgets, sampler and pruner."""
