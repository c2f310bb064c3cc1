"""`python -m selfdraft`: the same as the `selfdraft` command."""

from selfdraft.cli import main

raise SystemExit(main())
