"""Makes .links, where tools that cannot follow an editable install find the packages by their import names."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"inarch": "src", "inarch_plugins": "plugins", "inarch_benchmarks": "benchmarks"}

if __name__ == "__main__":
    links = ROOT / ".links"
    links.mkdir(exist_ok=True)
    for package, folder in FOLDERS.items():
        link = links / package
        if not link.is_symlink():
            link.symlink_to(Path("..") / folder)
