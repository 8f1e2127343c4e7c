"""Branch changes that the file system has not yet committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from .database import NewFile
from .names import branch_of_file_name


def split_branch_path(path: str) -> Optional[tuple[str, str]]:
    """Splits the path of a file in a branch into the branch and the path in its tree.

    Returns None if the path does not refer to a file in a branch.
    """
    names = path.strip("/").split("/")
    if len(names) > 3 and names[0] == "branch" and names[2] == "ro":
        return branch_of_file_name(names[1]), "/".join(names[3:])
    return None


@dataclass
class Changes:
    """Changes to one branch that have not yet been committed."""

    files: dict[str, NewFile] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)

    def write(self, file: NewFile) -> None:
        """Adds a new file, replacing any existing one."""
        self.files[file.path] = file

    def remove(self, path: str, exists: bool) -> bool:
        """Discards new files at and below the path, and removes the branch's entry at the path.

        ``exists`` tells whether the branch has an entry at the path. Returns False if there was
        nothing to remove.
        """
        new = [name for name in self.files if f"{name}/".startswith(f"{path}/")]
        for name in new:
            del self.files[name]
        exists = exists and not any(f"{path}/".startswith(f"{known}/") for known in self.removed)
        if exists:
            self.removed.append(path)
        return exists or bool(new)

    def message(self) -> str:
        """Returns the default commit message, which summarizes the changes."""
        parts = []
        for verb, paths in (("Write", list(self.files)), ("Remove", self.removed)):
            if paths:
                parts.append(f"{verb} " + (paths[0] if len(paths) == 1 else f"{len(paths)} files"))
        return ", ".join(parts)
