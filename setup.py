"""Maps the folders of this repository to the packages they are imported as; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = {"inarch": "src", "inarch_plugins": "plugins", "inarch_benchmarks": "benchmarks"}

packages = [
    f"{package}.{below}" if below else package
    for package, folder in FOLDERS.items()
    for below in ["", *find_packages(folder)]
]
setup(
    package_dir=FOLDERS,
    packages=packages,
    package_data={
        "inarch": ["py.typed", "testing/new-method/*"],
        "inarch_plugins": ["peft_bridge/record.json"],
        "inarch_benchmarks": ["suites/*.yaml", "report/templates/*", "embedded/*.json"],
    },
)
