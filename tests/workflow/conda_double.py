"""A stand-in for `conda` that answers what Snakemake's `--use-conda` asks and makes environments without a network.

Each is a real virtual environment that holds the packages of the file's `pip:` section and no others: they are linked
out of the environment that runs this file, after a check that the version there is the pinned one. What the rules
import and the file forgets is therefore missing. What pip would add by itself goes to PREFIX.unpinned, and every
Python that starts in the environment writes its words to PREFIX.started.

What it does not show: that conda-forge and the package index hold what the file asks for.
"""

import json
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

VERSION = "26.9.0"
STARTED = 'import sys; open({path!r}, "a").write(" ".join(sys.orig_argv[1:]) + chr(10))\n'


def install(bin_folder, version=VERSION):
    """Write the commands `conda` and `activate` to a folder that is then put first on the PATH."""
    bin_folder.mkdir(parents=True)
    conda = bin_folder / "conda"
    conda.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {version} "{bin_folder.parent}" "$@"\n')
    conda.chmod(0o755)
    (bin_folder / "activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(environment):
    """The distributions of the `pip:` section, each installed here in just the version that it names."""
    for text in environment["dependencies"][-1]["pip"]:
        requirement = Requirement(text)
        found = distribution(requirement.name)
        if str(requirement.specifier) != f"=={Version(found.version).public}":
            sys.exit(f"conda double: the file asks for {text}; {found.version} is installed")
        yield found


def with_needed(distributions):
    """The distributions and what they need in turn, by name; those that were not given are the second part."""
    given = {plain(each.name): each for each in distributions}
    added, waiting = {}, [(each, ()) for each in given.values()]
    seen = set()
    while waiting:
        each, extras = waiting.pop()
        if (key := (plain(each.name), extras)) in seen:
            continue
        seen.add(key)
        for requirement in map(Requirement, each.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or ("",)):
                needed = distribution(requirement.name)
                waiting.append((needed, tuple(sorted(requirement.extras))))
                if plain(needed.name) not in given:
                    added[plain(needed.name)] = needed
    return given, added


def create(prefix, file):
    environment = yaml.safe_load(file.read_text())
    wanted = dict(text.split(" ", 1) for text in environment["dependencies"] if isinstance(text, str) and " " in text)
    if not SpecifierSet(wanted["python"]).contains(sysconfig.get_python_version()):
        sys.exit(f"conda double: the file asks for python {wanted['python']}")
    given, added = with_needed(pinned(environment))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(prefix)}))
    for each in [*given.values(), *added.values()]:
        for top in {file.parts[0] for file in each.files or ()} - {"..", "__pycache__"}:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(each.locate_file(top)).resolve())
    (packages / "sitecustomize.py").write_text(STARTED.format(path=f"{prefix}.started"))
    Path(f"{prefix}.unpinned").write_text("".join(f"{name}\n" for name in sorted(added)))


def main(version, root, *words):
    if words == ("--version",):
        print(f"conda {version}")
    elif words == ("info", "--json"):
        print(json.dumps({"conda_prefix": root, "platform": "linux-64", "conda_version": version}))
    elif words == ("config", "--get", "channel_priority", "--json"):
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif words[:1] == ("clean",):
        pass  # nothing was downloaded
    elif words[:2] == ("env", "create"):
        create(Path(words[words.index("--prefix") + 1]), Path(words[words.index("--file") + 1]))
    else:
        sys.exit(f"conda double: unknown call {words}")


if __name__ == "__main__":
    main(*sys.argv[1:])
