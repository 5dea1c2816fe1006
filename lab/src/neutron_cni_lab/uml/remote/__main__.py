"""See `roles`."""

from roles import main

main()
