"""`multijoint bundles`."""

import json

from multijoint.cli.commands import command
from multijoint.cli.presenting import record


@command(example="multijoint bundles")
def bundles() -> None:
    """List the bundles that are installed: where their configurations lie, and how MONAI runs one."""
    from multijoint.api.training import bundle_command, training_workflow
    from multijoint.running import list_bundles

    found = []
    for folder in list_bundles():
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        configs = sorted(path.name for path in (folder / "configs").glob("*.yaml"))
        found.append({"name": folder.name, "folder": folder, "task": metadata["task"], "configs": configs})
        print(f"{folder.name}: {metadata['task']}\n  {folder}\n  configs/ {' '.join(configs)}\n")
    example = bundle_command("training", *training_workflow(["ankle/manifest.yaml"], out="runs/x"))
    print(f"MONAI runs one so:\n  {example}")
    record(bundles=found, example=example)
