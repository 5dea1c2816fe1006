"""What a CNI call means, on whichever host it runs: no JSON, no HTTP, no plugin by name."""
