"""What an edit is measured by: pure functions on tensors, and the scores of a system over all cases."""
