"""`python -m multijoint.cli` is `multijoint`."""

from multijoint.cli.main import main

raise SystemExit(main())
