"""What everything stands on: errors, atomic files, interrupts, provenance, keys, settings, families of models."""
