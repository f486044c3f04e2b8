"""What training and recognition cost here, and what they cost as others do it; see bench.speed."""
