"""What a CNI call means, whichever process runs it. Knows no JSON, no HTTP, no plugin by name."""
