"""`multijoint models`."""

from multijoint.cli.commands import command
from multijoint.cli.presenting import record


@command(example="multijoint models")
def models() -> None:
    """List the models that come with this program, for `multijoint segment --model`."""
    from custom_components.system.terminal import align_columns

    from multijoint.sharing.shipped_models import shipped_models

    found = shipped_models()
    record(
        models=[
            {
                "name": model.name,
                "domains": [
                    {"domain": domain, "bones": bones, "dice": model.dice[domain]}
                    for domain, bones in model.bones.items()
                ],
                "megabytes": model.megabytes,
                "licence": model.licence,
                "card": model.card,
            }
            for model in found
        ]
    )
    for model in found:
        print(f"{model.name}  {model.megabytes:.1f} MB  {model.licence}")
        rows = [("domain", "Dice %", "bones")]
        rows += [(name, f"{100 * model.dice[name]:.1f}", ", ".join(bones)) for name, bones in model.bones.items()]
        print(*(f"  {line}" for line in align_columns(rows, num_left=3)), f"  card: {model.card}", sep="\n")
    print("Examples of sharing, not for clinical use. Dice: mean of a cross-validation, on scans not trained on.")
