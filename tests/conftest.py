"""Files that take minutes, most of them waiting, come first: the others fill the time beside them."""

LONGEST = ("test_slurm", "test_interrupted_study", "test_tiny_study", "test_architecture_examples", "test_conda")


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
