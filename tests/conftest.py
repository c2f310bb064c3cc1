"""What several processes of one test run share: the order of files, and folders that are made once.

Files that take minutes, most of them waiting, come first: the others fill the time beside them.
"""

import fcntl
import os

import pytest

LONGEST = ("test_slurm", "test_interrupted_study", "test_tiny_study", "test_architecture_examples", "test_conda")


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Makes a folder that all processes of the test run read; the first one that needs it makes it."""
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place

    def made(name, make):
        with open(place / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (place / f"{name}.made").exists():
                make(place / name)
                (place / f"{name}.made").touch()
        return place / name

    return made
