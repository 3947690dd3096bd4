"""`python -m custom_components.cli` is `multijoint`."""

from custom_components.cli.main import main

raise SystemExit(main())
