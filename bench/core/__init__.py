"""What everything else stands on: configuration, seeding, errors, name lookup, paths."""
