"""Every figure that the documents quote, as a command: `./bench NAME [--json]`."""
