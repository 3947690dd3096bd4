"""Push a packaged bundle with MONAI's own function to a hub on this machine, look at what arrived, and fetch it again.

Nothing leaves the machine: a connection to anywhere else is an error.
"""

import argparse
import filecmp
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hub import Hub
from rules import find_faults
from sample import NAME, SPOILS, write_checksums, write_sample

OWNER, TOKEN = "multijoint", "dry-run"


def main() -> int:
    """Check the rules themselves, then the bundle; without one, the sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", type=Path, metavar="FOLDER", help="dist/<name> of `multijoint package`")
    options = parser.parse_args()
    started = time.monotonic()
    stay_home()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        check_rules(work / "rules")
        write_sample(work / "sample" / NAME)
        bundle = (options.bundle or work / "sample" / NAME).resolve()
        faults = find_faults(bundle)
        if faults:
            sys.stderr.write(f"red: {bundle.name}\n" + "".join(f"  {fault}\n" for fault in faults))
            return 1
        seen = push(bundle, work / "push", work / "got", home=work / "home")
    sys.stdout.write(f"green: {seen} ({(time.monotonic() - started) / 60:.1f} min)\n")
    return 0


def stay_home() -> None:
    """Refuse every connection but to this machine."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = arguments[1]
            if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
                raise PermissionError(f"a dry run must stay on this machine, got a connection to {address}")
        elif event == "socket.getaddrinfo" and arguments[0] not in (None, "127.0.0.1", "localhost", b"127.0.0.1"):
            raise PermissionError(f"a dry run must stay on this machine, got a look-up of {arguments[0]}")

    sys.addaudithook(refuse)


def check_rules(folder: Path) -> None:
    """The rules must pass the sample and name the fault of each damaged one."""
    for number, (spoil, fault) in enumerate([(lambda _: None, ""), *SPOILS]):
        sample = folder / str(number)
        write_sample(sample)
        spoil(sample)
        write_checksums(sample)
        faults = find_faults(sample)
        require((not faults) if not fault else any(fault in each for each in faults), f"{fault!r} not in {faults}")
    (sample / "LICENSE").write_text("another")  # after the checksums
    require("LICENSE: not what checksums.sha256 says" in find_faults(sample), "a changed file must be seen")


def push(bundle: Path, pushed: Path, fetched: Path, *, home: Path) -> str:
    """Push a copy, since MONAI writes a README.md into the folder, and fetch it; returns one line about it."""
    shutil.copytree(bundle, pushed / bundle.name)
    hub = Hub()
    os.environ |= {  # read when huggingface_hub is imported
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),  # where no token of the user's is
        "HF_HUB_DISABLE_XET": "1",  # large files over the same HTTP, without a storage service of their own
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    from huggingface_hub import ModelCard
    from huggingface_hub.utils import filter_repo_objects, validate_repo_id
    from huggingface_hub.utils._paths import DEFAULT_IGNORE_PATTERNS
    from monai.bundle import download, push_to_hf_hub

    version = json.loads((bundle / "configs" / "metadata.json").read_text())["version"]
    repo = f"{OWNER}/{bundle.name}"
    validate_repo_id(repo)
    push_to_hf_hub(
        repo=repo, name=bundle.name, bundle_dir=str(pushed), token=TOKEN, version=version, tag_as_latest_version=True
    )

    own = {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    expected = set(filter_repo_objects([*own, "README.md"], ignore_patterns=DEFAULT_IGNORE_PATTERNS))
    require(expected == {*own, "README.md"}, f"nothing may be left out, got {set(own) - expected}")
    require(hub.files.keys() == expected, f"what arrived must be the folder, got {hub.files.keys() ^ expected}")
    require(all(hub.files[name] == data for name, data in own.items()), "every byte must arrive")
    require(hub.created.get("visibility") == "private", f"a new repository must be private, got {hub.created}")
    require(hub.tags == [version, "latest_version"], f"tags must be {version} and latest_version, got {hub.tags}")
    require(hub.tokens <= {"", f"Bearer {TOKEN}"}, "no token of the user's may be sent")
    require(not hub.unknown, f"requests that a hub on this machine does not know: {hub.unknown}")

    card = ModelCard(hub.files["README.md"].decode())
    data = card.data.to_dict()
    require(data.get("license") == "apache-2.0", f"the licence must be known, got {data}")
    require(data.get("library_name") == "monai" and "monai" in data.get("tags", []), f"a MONAI model, got {data}")
    require(card.text.strip() == (bundle / "docs" / "README.md").read_text().strip(), "the card must be docs/README.md")

    download(name=bundle.name, source="huggingface_hub", repo=repo, version=version, bundle_dir=str(fetched))
    for name in own:
        same = filecmp.cmp(bundle / name, fetched / bundle.name / name, shallow=False)
        require(same, f"{name} must come back as it went")
    hub.close()
    large = ", ".join(f"{name} {len(hub.files[name]) / 1e6:.1f} MB" for name in sorted(hub.large)) or "none"
    return (
        f"{bundle.name} {version}: {len(hub.files)} files pushed by monai.bundle.push_to_hf_hub and fetched again byte "
        f"for byte, large ones {large}, licence {data['license']}, tags {', '.join(hub.tags)}"
    )


def require(condition: bool, message: str) -> None:
    """Exit where the condition does not hold."""
    if not condition:
        raise SystemExit(f"red: {message}")


if __name__ == "__main__":
    sys.exit(main())
